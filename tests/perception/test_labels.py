"""Labels by projection, held against what is drawn and against rays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from softflow.envs.mujoco_loading import load_mujoco
from softflow.perception.cube_model import CubeModel
from softflow.perception.packages import orca_scene
from softflow.perception.rendering import CubeRenderer, RenderPlan
from softflow.perception.scene.cube_scene import TO_OPTICAL
from softflow.perception.scene.hand import CONTACT_GROUP, make_hand
from softflow.perception.scene.labels import CUBE, HAND
from softflow.perception.scene.randomising import Variation


def test_the_hull_of_projected_corners_is_the_mask_drawn(
    renderer: CubeRenderer, rng: np.random.Generator
) -> None:
    """Where nothing hides the cube, both are the same but for pixels at the edge."""
    compared = 0
    for _ in range(40):
        render = renderer.draw(rng)
        labels = render.labels
        hull = np.zeros(labels.segments.shape, np.uint8)
        points = cv2.convexHull(np.rint(labels.corners * 16).astype(np.int32))
        if labels.present:
            cv2.fillConvexPoly(hull, points, 1, shift=4)
        # Nothing of the cube is drawn outside of its hull, grown by a pixel.
        assert not (labels.mask & (cv2.dilate(hull, np.ones((3, 3))) == 0)).any()
        inner = cv2.erode(hull, np.ones((3, 3))) > 0
        if labels.present and not (inner & (labels.segments == HAND)).any():
            compared += 1
            assert labels.mask[inner].all()
    assert compared > 5


def test_box_and_pose_belong_to_the_corners(
    renderer: CubeRenderer, rng: np.random.Generator
) -> None:
    render = renderer.draw(rng)
    labels = render.labels
    corners = render.camera.project(labels.pose.apply(CubeModel().corners_m))
    np.testing.assert_allclose(corners, labels.corners)
    np.testing.assert_allclose(labels.box, [*corners.min(0), *corners.max(0)])


def test_visible_corners_are_those_that_rays_reach(
    renderer: CubeRenderer, rng: np.random.Generator
) -> None:
    mujoco, scene, same, total = load_mujoco(), renderer.scene, 0, 0
    groups = np.ones(mujoco.mjNGROUP, np.uint8)
    groups[CONTACT_GROUP] = 0
    for _ in range(40):
        labels = renderer.draw(rng).labels
        if not labels.present:
            assert not labels.visible.any()
            continue
        eye = scene.data.cam_xpos[0]
        turn = scene.data.cam_xmat[0].reshape(3, 3) @ TO_OPTICAL
        for corner, visible in zip(
            labels.pose.apply(scene.cube.corners_m), labels.visible, strict=True
        ):
            far, geom = float(np.linalg.norm(corner)), np.zeros(1, np.int32)
            hit = mujoco.mj_ray(
                scene.model, scene.data, eye, turn @ corner / far, groups, 1, -1, geom
            )
            same += bool(visible) == bool(hit < 0 or hit > far - 0.0006)
            total += 1
    assert same / total > 0.96


def test_pictures_differ_and_the_same_draw_is_the_same(renderer: CubeRenderer) -> None:
    one, two = (renderer.draw(np.random.default_rng(5)) for _ in range(2))
    other = renderer.draw(np.random.default_rng(6))
    np.testing.assert_array_equal(one.picture, two.picture)
    np.testing.assert_array_equal(one.labels.corners, two.labels.corners)
    assert (one.picture != other.picture).mean() > 0.5


def test_without_a_cube_nothing_is_labelled(
    renderer: CubeRenderer, rng: np.random.Generator
) -> None:
    from softflow.perception.scene.randomising import draw_camera, draw_grasp

    draw_grasp(renderer.scene, rng, Variation(absent=1.0))
    camera = draw_camera(renderer.scene, rng, Variation(), 240, 320)
    renderer.scene.update()
    _, labels = renderer.shown(camera, renderer.background(rng))
    assert not labels.present
    assert not (labels.segments == CUBE).any()
    assert (labels.segments == HAND).any()


@pytest.mark.skipif(orca_scene() is None, reason="needs orca_sim")
def test_the_orca_hand_hides_corners(rng: np.random.Generator) -> None:
    renderer = CubeRenderer(RenderPlan(1, hand="orca"))
    assert make_hand("auto").kind == "orca"
    seen = [renderer.draw(rng).labels for _ in range(10)]
    renderer.close()
    visible = np.array([labels.visible.sum() for labels in seen if labels.present])
    assert visible.min() < 7
    assert visible.max() >= 6
