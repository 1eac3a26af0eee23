"""What a finished stage was measured by, once the stage has gone on: kept under another name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from softflow.training.config import StageName
from softflow.utils.files import is_there, read_object, write_json


def set_aside(run: Path, stage: StageName, update_step: int) -> None:
    """Rename the results of an earlier end of a stage: imitation -> imitation_00000060.

    Numbers, episodes and videos stay; where it looked and what cameras saw is drawn again. Results
    of this very end stay what they are. Interrupted at any moment, the next call does the rest.

    Args:
        run: the run folder.
        stage: that has ended again.
        update_step: where.

    Raises:
        StoreError: a result cannot be read or written.
    """
    measured = run / "evaluations" / f"{stage}.json"
    earlier = _update_step(measured)
    if earlier is not None and earlier < update_step:
        label = f"{stage}_{earlier:08d}"
        films = (f"{stage}{other}" for other in ("", ".success", ".failure"))
        for file in (
            *(run / "videos" / f"{film}.{kind}" for film in films for kind in ("json", "mp4")),
            run / "evaluations" / stage,
            measured,  # goes last: while it is there, this is done again
        ):
            if is_there(file):
                file.rename(file.with_name(label + file.name.removeprefix(stage)))
        (run / "videos" / "cameras" / f"{stage}.json").unlink(missing_ok=True)
    _set_diagnostics_aside(run / "diagnostics" / f"{stage}.json", update_step)


def _set_diagnostics_aside(file: Path, update_step: int) -> None:
    """Those of an unknown update, of softflow 0.1, make room for the same numbers of now."""
    if not is_there(file) or (earlier := _update_step(file)) == update_step:
        return
    if earlier is not None:
        numbers: dict[str, Any] = read_object(file)
        numbers.pop("saliency", None)  # its pictures are drawn again, under the same names
        write_json(file.with_name(f"{file.stem}_{earlier:08d}.json"), numbers)
    file.unlink()


def _update_step(file: Path) -> int | None:
    """At which update a result was measured, if there is one and it says so."""
    found = read_object(file).get("update_step") if is_there(file) else None
    return found if isinstance(found, int) else None
