"""The same episodes as in the tests of the data layer."""

from ..data.conftest import CAMERA, STATE, EpisodeMaker, image_spec, make_episode, spec

__all__ = ["CAMERA", "STATE", "EpisodeMaker", "image_spec", "make_episode", "spec"]
