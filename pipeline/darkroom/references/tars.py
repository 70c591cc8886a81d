"""WebDataset tars as a reference: every member whose name ends as an image's does. Nothing is unpacked to disk."""

import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import IO, cast

from darkroom.domain.errors import DarkroomError
from darkroom.references.blocks import in_blocks
from darkroom.references.decoding import ENDINGS, check_size
from darkroom.references.files import File, listing, reading, shown
from darkroom.references.reference import Block, ImageFile, Images, Reference

_BUFFER_BYTES = 4 << 20


class _StrictTarInfo(tarfile.TarInfo):
    """The tarfile module takes a broken header for the end of the archive; here only its end marker is."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def tar_reference(name: str, files: Sequence[File], endpoint_url: str | None) -> Reference:
    return Reference(name, "webdataset", None, Images(partial(_blocks, files), listing("tar", files, endpoint_url)))


def _blocks(files: Sequence[File]) -> Iterator[Block]:
    return in_blocks(image for file in files for image in _images(file))


def _images(file: File) -> Iterator[ImageFile]:
    """From front to back, each byte read once."""
    try:
        with reading(file.name), _stream(file) as stream, _open(stream) as tar:
            yield from (_image(file, tar, info) for info in tar if _is_image(info))
    except DarkroomError:
        raise
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DarkroomError(f"reference {file.name}: no whole tar ({shown(str(error))}); copy it anew") from error


def _stream(file: File) -> IO[bytes]:
    return cast(IO[bytes], file.filesystem.open_input_stream(file.path, compression=None, buffer_size=_BUFFER_BYTES))


def _open(stream: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictTarInfo)


def _image(file: File, tar: tarfile.TarFile, info: tarfile.TarInfo) -> ImageFile:
    name = f"{file.name}: {shown(info.name)}"
    check_size(name, info.size)
    member = tar.extractfile(info)
    assert member is not None  # since it is a file
    return ImageFile(name, member.read())


def _is_image(info: tarfile.TarInfo) -> bool:
    path = PurePosixPath(info.name)
    return info.isfile() and path.suffix.lower() in ENDINGS and not path.name.startswith(".")
