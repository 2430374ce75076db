"""The mapping from inputs to outputs, checked before the first image."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from ..errors import ImageError, InputError, OutputExistsError
from ..images import FORMATS, IMAGE_SUFFIXES, OTHER_SUFFIXES, image_format, is_image_name, written_suffix
from ..system.messages import counted, listed
from ..system.paths import Identity, folders_around, identities_of, identity_of, is_folder, is_same
from .locations import check_local, check_place, is_url, path_of
from .places import exists, storage_of
from .references import find_references
from .shards import Shard

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
        return isinstance(other, Job) and self._names() == other._names()

    def __hash__(self) -> int:
        return hash(self._names())

    def __repr__(self) -> str:
        return f"Job{self._names()}"

    def _names(self) -> tuple[str, str, str | None]:
        return self._folder + self._name, self._to_folder + self._to_name, self._reference


def _split(path: PathLike) -> tuple[str, str]:
    """Return the folder of a path, with its separator and as one object for all paths in it, and the name."""
    folder, separator, name = os.fspath(path).rpartition(os.sep)
    return sys.intern(folder + separator), name


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
) -> list[Job]:
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
    single_file = sources == [os.fspath(path_of(source))]
    if not single_file and (is_url(source) or is_url(output)):
        _check_prefixes(base, target)
    elif not single_file:
        # Outputs at another depth are not matched again, unless the pattern matches every depth.
        any_depth = is_folder(source) or "**" in os.fspath(source)
        _check_folders(base, output, any_depth)
        if any_depth:
            _check_outside({Path(name).parent for name in sources}, output)
    if single_file and target.suffix and not _means_folder(output):
        _check_file_name(target, suffix, format)
        outputs: Iterable[Path] = [target]
    else:
        relative = (path_of(name).relative_to(base) for name in sources)
        outputs = (_destination(path, target, suffix, extension, single_file) for path in relative)
    references: Iterable[Path | None] = itertools.repeat(None)
    if reference is not None:
        references = find_references([path_of(name) for name in sources], base, path_of(reference), shard is None)
    jobs = [
        Job(name, to, clean)
        for name, to, clean in zip(sources, outputs, references, strict=False)
        if shard is None or shard.owns(path_of(name).relative_to(base))
    ]
    _check_mapping([job for job in jobs if single_file or is_image_name(job.source)])
    for folder in {job.destination.parent for job in jobs}:
        storage_of(folder).check_writable(folder)
    if not overwrite:
        check_absent(jobs)
    return jobs


def is_file_name(output: PathLike) -> bool:
    """Tell whether an output names an image file rather than a folder."""
    return not _means_folder(output) and Path(output).suffix.lower() in (*FORMATS, *OTHER_SUFFIXES)


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
    _check_folders(base, output, any_depth=True)
    storage_of(target).check_writable(target)
    return lambda path: _destination(path.relative_to(base), target, suffix, extension)


def _destination(relative: Path, output: Path, suffix: str, extension: str | None, named: bool = False) -> Path:
    if not named and not is_image_name(relative):  # a sub-folder that cannot be read, found instead of its images
        return output / relative
    return output / relative.with_name(relative.stem + suffix + (extension or written_suffix(relative)))


def _check_folders(base: Path, output: PathLike, any_depth: bool) -> None:
    inside, *around = folders_around(output)
    outside = Path(os.path.realpath(base))
    if inside == outside or is_same(inside, outside):
        _refuse_inside(output, "is the input folder")
    if any_depth and any(folder == outside or is_same(folder, outside) for folder in around):
        _refuse_inside(output, f"lies inside the input folder {base}")
    _check_not_file(output)


def _check_not_file(output: PathLike) -> None:
    if os.path.lexists(output) and not is_folder(output):
        raise InputError(f"several images need a folder as output, but {output} is a file.")
    if is_file_name(output):
        raise InputError(f"several images need a folder as output, not a file; for a folder with this name give {output}/")


def _check_prefixes(base: Path, output: Path) -> None:
    """Check an input and an output of which one is a URL."""
    if output.is_relative_to(base):
        _refuse_inside(output, "is the input" if output == base else f"lies inside the input {base}")
    _check_not_file(output)


def _check_outside(folders: set[Path], output: PathLike) -> None:
    """Check that an output is none of the folders of inputs, also by another name: of a bind mount or by folded case."""
    known = identities_of(folders)
    if any(identity_of(folder) in known for folder in folders_around(output)):
        _refuse_inside(output, "is or lies inside a folder of inputs, by another name")


def _refuse_inside(output: PathLike, where: str) -> NoReturn:
    raise InputError(f"the output {output} {where}; a second run would denoise its own results. Give a folder outside it.")


def _check_mapping(jobs: list[Job]) -> None:
    folders: dict[str, str] = {}
    outputs: dict[str, dict[str, Job]] = {}
    existing: dict[Identity, Job] = {}
    for job in jobs:
        try:
            image_format(job.destination)
        except ImageError as error:
            raise InputError(f"{job.source} has no output: {error}.") from error
        folder, name = _resolved(job.destination, folders)
        other = outputs.setdefault(folder, {}).setdefault(name, job)
        if other is not job:
            raise InputError(
                f"{other.source} and {job.source} have the same output {job.destination}. Rename one, or leave out --format."
            )
        if (identity := identity_of(job.destination)) is not None:
            existing[identity] = job
    for job in jobs:
        for path, what, those in ((job.source, "an input", "Inputs"), (job.reference, "a reference", "References")):
            hit = None if path is None else _output_at(path, folders, outputs, existing)
            if hit is not None:
                raise InputError(
                    f"the output {hit.destination} is also {what}. {those} are never changed; give another output."
                )


def _output_at(
    path: Path, folders: dict[str, str], outputs: dict[str, dict[str, Job]], existing: dict[Identity, Job]
) -> Job | None:
    """Return the job whose output lies at a path, by its name or by another; the arguments are of `_check_mapping`."""
    folder, name = _resolved(path, folders)
    if (hit := outputs.get(folder, {}).get(name)) is not None or not existing:
        return hit
    identity = identity_of(path)
    return None if identity is None else existing.get(identity)


def _resolved(path: Path, folders: dict[str, str]) -> tuple[str, str]:
    """Return folder and name of a path without links; `folders` caches resolved folders."""
    folder, name = os.path.split(path)
    if os.path.islink(path):  # noqa: PTH114 - many names: os.path works on them as they are
        folder, name = os.path.split(os.path.realpath(path))
        return sys.intern(folder), name
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return folders[folder], name


def check_absent(jobs: list[Job]) -> None:
    """Raise OutputExistsError if any output exists."""
    existing = [job for job in jobs if exists(job.destination)]
    if existing:
        many = len(existing) > 1
        raise OutputExistsError(
            f"{counted(len(existing), 'output')} {'exist' if many else 'exists'} already: "
            f"{listed([job.destination for job in existing])}. "
            f"Give --overwrite to replace {'them' if many else 'it'}, or another output."
        )
