"""The mapping from inputs to outputs, checked before the first image."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from ..errors import InputError, OutputExistsError
from ..images import FORMATS, IMAGE_SUFFIXES, OTHER_SUFFIXES, is_image_name, split_name, written_suffix
from ..system.messages import NAMES_SHOWN, counted, listed
from ..system.paths import is_folder
from .collisions import check_folders, check_mapping, check_outside, refuse_inside
from .locations import check_local, check_place, is_url, path_of, prefix_of
from .places import exists, storage_of
from .references import References
from .shards import Shard
from .table import distinct

PathLike = str | os.PathLike[str]


class Job:
    """One file to denoise. Keeps text, a part of it shared by all jobs: a run may have very many.

    Args:
        source: The file.
        destination: The output.
        reference: The clean image to compare with, if any.
    """

    __slots__ = ("_folder", "_name", "_reference", "_to_folder", "_to_name")

    def __init__(self, source: PathLike, destination: PathLike, reference: PathLike | None = None) -> None:
        self._folder, self._name = _split(source)
        self._to_folder, name = _split(destination)
        self._to_name = self._name if name == self._name else name
        self._reference = None if reference is None else os.fspath(reference)

    @property
    def source(self) -> Path:
        """The file."""
        return path_of(self._folder + self._name)

    @property
    def destination(self) -> Path:
        """The output."""
        return path_of(self._to_folder + self._to_name)

    @property
    def reference(self) -> Path | None:
        """The clean image to compare with, if any."""
        return None if self._reference is None else path_of(self._reference)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"Job{self.names}"

    @property
    def names(self) -> tuple[str, str, str | None]:
        """Source, destination and reference as text."""
        return self._folder + self._name, self._to_folder + self._to_name, self._reference


def _split(path: PathLike) -> tuple[str, str]:
    """Return the folder of a path, with its separator and as one object for all paths in it, and the name."""
    folder, separator, name = os.fspath(path).rpartition(os.sep)
    return sys.intern(folder + separator), name


class Jobs(Sequence[Job]):
    """The jobs of a run, in order. There may be very many: each is made anew from its name whenever it is asked for.

    Args:
        names: Those of the inputs, sorted.
        of: Returns the job of an input.
    """

    def __init__(self, names: Collection[str], of: Callable[[str], Job]) -> None:
        self._names, self.of = names, of

    def folders(self) -> Iterator[Path]:
        """Yield the folders of the outputs, each once."""
        return map(path_of, distinct(os.path.dirname(job.names[1]) for job in self))  # noqa: PTH120 - text

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Job]:
        return map(self.of, self._names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        numbers = range(len(self))[index]  # raises IndexError
        if isinstance(numbers, int):
            return self.of(next(itertools.islice(self._names, numbers, None)))
        return list(map(self.of, itertools.islice(self._names, numbers.start, numbers.stop, numbers.step)))


def plan(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    recursive: bool = False,
    suffix: str = "",
    format: str | None = None,
    reference: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    files_from: PathLike | None = None,
    shard: Shard | None = None,
) -> Jobs:
    """Map every input to its output; writes nothing and opens no image.

    Args:
        source: An image file, a folder, or a glob (`**` for any depth). A path that exists is never taken as a glob.
        output: For one file, a file with an image suffix, or a folder: one that exists, or a name that ends in a slash or has
            no suffix. Else a folder, in which the input's tree is mirrored.
        recursive: Include sub-folders.
        suffix: Added to each name before the extension: `_clean` turns `a.png` into `a_clean.png`.
        format: Extension of the outputs, such as `png`; None to keep each input's, but `tif` for camera raw.
        reference: Folder with clean images of the same relative path (any image extension), or, for one input file, a file.
        overwrite: Allow existing outputs.
        files_from: List of the files within the folder `source` to take, as for `listed_names`; None for all images.
        shard: Return only jobs of this shard, perhaps none; None for all.

    Returns:
        Jobs, sorted by source name. A sub-folder that cannot be read is one of them, so that reading reports it.

    Raises:
        InputError: There is no input, two inputs have the same output, an output is an input or a reference, or the output
            lies inside the input folder or is not a valid name.
        OutputExistsError: Outputs exist and `overwrite` is false.
        ImageError: The folder cannot be read, or the output folder cannot be created or written to.
    """
    extension = _extension(format, suffix)
    target = path_of(output)
    check_place(output, "the output")
    base, sources = storage_of(path_of(source)).find(path_of(source), recursive, files_from, shard)
    single_file = len(sources) == 1 and os.fspath(path_of(source)) in sources
    if not single_file and (is_url(source) or is_url(output)):
        _check_prefixes(base, target)
    elif not single_file:
        # Outputs at another depth are not matched again, unless the pattern matches every depth.
        any_depth = is_folder(source) or "**" in os.fspath(source)
        check_folders(base, output, any_depth)
        _check_not_file(output)
        if any_depth:
            check_outside(sources, output)
    named = single_file and bool(target.suffix) and not _means_folder(output)
    if named:
        _check_file_name(target, suffix, format)
    references = None if reference is None else References(sources, base, path_of(reference), shard is None)
    inside, into = prefix_of(base), prefix_of(target)

    def job_of(name: str) -> Job:
        relative = name.removeprefix(inside)
        to = os.fspath(target) if named else into + _output_name(relative, suffix, extension, single_file)
        return Job(name, to, None if references is None else references.of(relative))

    if single_file and shard is not None:
        sources = [name for name in sources if shard.owns(name.removeprefix(inside))]
    jobs = Jobs(sources, job_of)
    check_mapping(lambda: (job.names for job in jobs if single_file or is_image_name(job.names[0])))
    for folder in jobs.folders():
        storage_of(folder).check_writable(folder)
    if not overwrite:
        check_absent(jobs)
    return jobs


def is_file_name(output: PathLike) -> bool:
    """Tell whether an output names an image file rather than a folder."""
    return not _means_folder(output) and Path(output).suffix.lower() in (*FORMATS, *OTHER_SUFFIXES)


def output_folder(output: Path) -> Path:
    """Return the folder of the outputs of a run: OUT, or where it lies if it is the name of a file."""
    return output.parent if is_file_name(output) else output


def _means_folder(output: PathLike) -> bool:
    return os.fspath(output).endswith(("/", os.sep)) or is_folder(output)


def _check_file_name(output: Path, suffix: str, format: str | None) -> None:
    if output.suffix.lower() not in FORMATS:
        raise InputError(
            f"the output {output} is neither an image file ({', '.join(IMAGE_SUFFIXES)}) nor a folder (an existing one, or a "
            "name that ends in / or has no suffix)."
        )
    if suffix or format:
        raise InputError(
            f"--suffix and --format cannot be used with the output file {output}; leave them out, or give a folder."
        )


def _extension(format: str | None, suffix: str) -> str | None:
    if "/" in suffix or os.sep in suffix or "\0" in suffix:
        raise InputError(f"the suffix {suffix!r} must be part of a file name, without path separators.")
    if format is None:
        return None
    extension = "." + format.lower().removeprefix(".")
    if extension not in FORMATS:
        known = ", ".join(name.removeprefix(".") for name in FORMATS)
        raise InputError(f"images cannot be written as {format!r}; the formats are {known}.")
    return extension


def plan_folder(
    source: str | os.PathLike[str], output: str | os.PathLike[str], *, suffix: str = "", format: str | None = None
) -> Callable[[Path], Path]:
    """Check two folders and return the function that maps an input file to its output.

    Raises:
        InputError: The source is not a folder, the output is a file or lies inside the source, the format is unknown, or the
            suffix contains a path separator.
        ImageError: The output cannot be created or written to.
    """
    base, target, extension = Path(source), Path(output), _extension(format, suffix)
    for path, what in ((source, "the input"), (output, "the output")):
        check_local(path, what)
    if not is_folder(base):
        raise InputError(f"{base} is not a folder. Only a folder can be watched.")
    check_folders(base, output, any_depth=True)
    _check_not_file(output)
    storage_of(target).check_writable(target)
    return lambda path: target / _output_name(os.fspath(path.relative_to(base)), suffix, extension)


def _output_name(relative: str, suffix: str, extension: str | None, named: bool = False) -> str:
    if not named and not is_image_name(relative):  # a sub-folder that cannot be read, found instead of its images
        return relative
    folder, separator, name = relative.rpartition(os.sep)
    stem, old = split_name(name)
    return f"{folder}{separator}{stem}{suffix}{extension or written_suffix(old)}"


def _check_not_file(output: PathLike) -> None:
    if os.path.lexists(output) and not is_folder(output):
        raise InputError(f"several images need a folder as output, but {output} is a file.")
    if is_file_name(output):
        raise InputError(f"several images need a folder as output, not a file; for a folder with this name give {output}/")


def _check_prefixes(base: Path, output: Path) -> None:
    """Check an input and an output of which one is a URL."""
    if output.is_relative_to(base):
        refuse_inside(output, "is the input" if output == base else f"lies inside the input {base}")
    _check_not_file(output)


def check_absent(jobs: Iterable[Job]) -> None:
    """Raise OutputExistsError if any output exists."""
    count, first = 0, list[str]()
    for job in jobs:
        if exists(job.destination):
            count += 1
            first += [job.names[1]] if count <= NAMES_SHOWN else []
    if count:
        many = count > 1
        raise OutputExistsError(
            f"{counted(count, 'output')} {'exist' if many else 'exists'} already: {listed(first, count)}. "
            f"Give --overwrite to replace {'them' if many else 'it'}, or another output."
        )
