"""`softflow data import rosbag` without importing: reports of bags, and a mapping to start from."""

from __future__ import annotations

from pathlib import Path

from softflow.cli.data.format_options import ImportRosbag
from softflow.cli.data.format_sources import open_rosbag
from softflow.errors import ConfigError, DataError
from softflow.utils.files import written_whole
from softflow.utils.progress import ConsoleProgress


def recording_reports(options: ImportRosbag, progress: ConsoleProgress) -> str:
    """Rates, gaps, losses and skew of what a mapping takes; every topic where there is none.

    Raises:
        DataError: there are no bags, or the mapping is unusable.
    """
    if options.mapping is None:
        return _overviews(options.path, progress)
    source = open_rosbag(options, progress)
    progress.begin("report", len(source.bags))
    tables: list[str] = []
    for done, name in enumerate(source.bags, 1):
        try:
            tables.append(source.report(name).table())
        except DataError as error:
            tables.append(f"{name}: nothing to import\n{error}")
        progress.advance(done, name)
    return "\n\n".join(tables)


def _overviews(path: Path, progress: ConsoleProgress) -> str:
    from softflow.formats.rosbag.looking.overview import overview, table
    from softflow.formats.rosbag.reader import find_bags, opened

    bags = find_bags(path)
    progress.begin("report", len(bags))
    tables: list[str] = []
    for done, (name, bag) in enumerate(bags.items(), 1):
        try:
            with opened(bag) as recording:
                tables.append(table(name, overview(recording)))
        except DataError as error:
            tables.append(f"{name}: cannot be read\n{error}")
        progress.advance(done, name)
    return "\n\n".join([*tables, "a mapping to start from: --write-mapping FILE"])


def write_mapping(options: ImportRosbag, file: Path) -> str:
    """Write a mapping with every topic of the first bag that can be read; what to do with it.

    Raises:
        ConfigError: there is a file of that name.
        DataError: no bag can be read.
    """
    from softflow.formats.rosbag.looking.overview import overview
    from softflow.formats.rosbag.looking.skeleton import skeleton
    from softflow.formats.rosbag.reader import find_bags, opened

    if file.exists():
        raise ConfigError(f"there is a file {file} already; choose another name for the mapping")
    first_error: DataError | None = None
    for bag in find_bags(options.path).values():
        try:
            with opened(bag) as recording:
                text = skeleton(overview(recording), recording.types)
        except DataError as error:
            first_error = first_error or error
            continue
        with written_whole(file, new=True) as temp:
            temp.write_text(text, encoding="utf-8")
        return (
            f"{file}: every topic of {bag}; correct it, then\n      softflow data import rosbag "
            f"{options.path} --mapping {file} --out STORE"
        )
    assert first_error is not None  # there is a bag
    raise first_error
