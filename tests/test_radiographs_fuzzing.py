"""Fuzzing of the reader: damaged images of every transfer syntax are read or rejected, and nothing else.

A few seconds of it are part of the tests; `make fuzz` goes on for some minutes and counts what became of the files.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from scripts.errors import REASONS, RejectedImage
from scripts.radiographs import IsolatedReader, Radiograph, read_radiograph
from scripts.synthetic.dicom import TRANSFER_SYNTAXES, make_image

from tests import images

#: Files for each test; with the number that `make fuzz` sets, it takes some minutes.
TRIES = int(os.environ.get("FUZZ", "40"))
FUZZING = settings(
    deadline=None,
    max_examples=TRIES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
COMPRESSED = ("rle", "jpeg_lossless", "jpeg_ls", "jpeg_2000", "jpeg_baseline")
#: Far more than an image of 64 pixels costs; a child that needs more was made to hang.
SECONDS, MEMORY_BYTES = 20.0, 2**30


@dataclass(frozen=True)
class Parts:
    """A valid image: what stands in front of its data set, the data set, and where its pixel data begins in there."""

    syntax: str
    head: bytes
    data_set: bytes
    pixels: int

    def join(self, data_set: bytes) -> bytes:
        """The file with this data set."""
        if self.syntax == "deflated":
            deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            data_set = deflater.compress(data_set) + deflater.flush()
        return self.head + data_set

    @property
    def file(self) -> bytes:
        return self.join(self.data_set)


def to_file(image: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def take_apart(syntax: str, bits: int) -> Parts:
    """A synthetic image of 64 x 66 or, where bytes can be odd in number, 65 x 67 pixels."""
    shape = (65, 67) if bits == 8 and syntax != "jpeg_lossless" else (64, 66)
    file = to_file(make_image(images.draw_values(bits, *shape), bits_stored=bits, syntax=syntax, window=(1000, 1800)))
    start = 144 + int.from_bytes(file[140:144], "little")
    head, data_set = file[:start], file[start:]
    if syntax == "deflated":
        data_set = zlib.decompress(data_set, -zlib.MAX_WBITS)
    tag = b"\x7f\xe0\x00\x10" if syntax == "big_endian" else b"\xe0\x7f\x10\x00"
    return Parts(syntax, head, data_set, data_set.rindex(tag) + (8 if syntax == "implicit" else 12))


VALID = [
    take_apart(syntax, bits)
    for syntax in TRANSFER_SYNTAXES
    for bits in (8, 12)
    if (syntax, bits) != ("jpeg_baseline", 12)
]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], Radiograph | RejectedImage]]:
    """Read a file in a child process: a decoder that crashes takes the child along, not the tests."""
    reader, path = IsolatedReader(MEMORY_BYTES, SECONDS), tmp_path_factory.mktemp("fuzzing") / "image.dcm"

    def read_and_check(file: bytes) -> Radiograph | RejectedImage:
        path.write_bytes(file)
        try:
            result: Radiograph | RejectedImage = reader.read(path)
        except RejectedImage as rejected:
            result = rejected
        check_outcome(result)
        return result

    yield read_and_check
    reader.close()


def check_outcome(result: Radiograph | RejectedImage) -> None:
    if isinstance(result, RejectedImage):
        event(result.reason)
        assert result.reason in REASONS
        assert "took too long" not in result.detail, result.detail
        return
    event("read")
    assert result.pixels.shape == (1, result.metadata.rows, result.metadata.columns)
    assert np.isfinite(result.pixels).all()
    assert (result.pixels.min(), result.pixels.max()) == (0, 1)


def change_bytes(draw: st.DrawFn, data: bytes, first: int, last: int) -> bytes:
    """Data with one to six of its bytes from `first` to `last` changed."""
    changed = bytearray(data)
    for position in draw(st.lists(st.integers(first, last), min_size=1, max_size=6)):
        changed[position] = draw(st.one_of(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)), st.integers(0, 255)))
    return bytes(changed)


@st.composite
def headers_changed(draw: st.DrawFn) -> bytes:
    """An image with bytes of its header changed."""
    parts = draw(st.sampled_from(VALID))
    return parts.join(change_bytes(draw, parts.data_set, 0, parts.pixels - 1))


@st.composite
def files_changed(draw: st.DrawFn) -> bytes:
    """An image with bytes changed anywhere behind the preamble: file meta information, stream, codestream."""
    file = draw(st.sampled_from(VALID)).file
    return change_bytes(draw, file, 128, len(file) - 1)


@st.composite
def files_cut(draw: st.DrawFn) -> bytes:
    """The beginning of an image; cuts in its header and at its very end are as likely as all others."""
    parts = draw(st.sampled_from(VALID))
    header, size = len(parts.head) + parts.pixels, len(parts.file)
    return parts.file[
        : draw(
            st.one_of(st.integers(0, min(header, size - 1)), st.integers(0, size - 1), st.integers(size - 20, size - 1))
        )
    ]


def draw_insertion(draw: st.DrawFn) -> bytes:
    """Bytes to insert: any, zeros (which look like padding), or an element that may stand behind pixel data."""
    zeros = st.integers(1, 64).map(bytes)
    return draw(
        st.one_of(st.binary(min_size=1, max_size=64), zeros, st.just(b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0\0\0\0\0"))
    )


@st.composite
def pixels_lengthened(draw: st.DrawFn) -> bytes:
    """An image with bytes inserted into its pixel data, and no length adapted to them."""
    parts, insertion = draw(st.sampled_from(VALID)), draw_insertion(draw)
    position = draw(st.one_of(st.integers(parts.pixels, len(parts.data_set) - 1), st.just(len(parts.data_set) - 1)))
    return parts.join(parts.data_set[:position] + insertion + parts.data_set[position:])


@st.composite
def pixels_shortened(draw: st.DrawFn) -> bytes:
    """An image with bytes taken out of its pixel data, in the middle or at the end, and no length adapted."""
    parts = draw(st.sampled_from(VALID))
    position = draw(st.integers(parts.pixels, len(parts.data_set) - 1))
    count = draw(st.one_of(st.integers(1, 16), st.integers(1, len(parts.data_set))))
    return parts.join(parts.data_set[:position] + parts.data_set[position + count :])


def encapsulate_anew(parts: Parts, change: Callable[[bytes], bytes]) -> bytes:
    image = pydicom.dcmread(io.BytesIO(parts.file))
    codestream = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([change(codestream)])
    return to_file(image)


@st.composite
def codestreams_cut(draw: st.DrawFn) -> bytes:
    """An image whose codestream was cut before it was encapsulated, so that every length is right."""
    parts = draw(st.sampled_from([parts for parts in VALID if parts.syntax in COMPRESSED]))
    keep = draw(st.floats(0, 1, exclude_max=True))

    def cut(codestream: bytes) -> bytes:
        size = len(codestream.rstrip(b"\0")) - 2  # what follows is padding, or an end marker
        return codestream[: max(1, int(keep * size))]

    return encapsulate_anew(parts, cut)


@st.composite
def codestreams_damaged(draw: st.DrawFn) -> bytes:
    """An image whose codestream has bytes changed, inserted or taken out, but for its end, and every length right."""
    parts = draw(st.sampled_from([parts for parts in VALID if parts.syntax in COMPRESSED]))
    where, count, insertion = draw(st.floats(0, 1)), draw(st.integers(0, 40)), draw(st.binary(max_size=40))

    def damage(codestream: bytes) -> bytes:
        position = int(where * max(len(codestream) - 4 - count, 0))
        return codestream[:position] + insertion + codestream[position + count :] or b"\0"

    return encapsulate_anew(parts, damage)


@pytest.mark.parametrize("parts", VALID, ids=[f"{parts.syntax} {parts.pixels}" for parts in VALID])
def test_the_images_that_are_damaged_are_valid(tmp_path: Path, parts: Parts) -> None:
    image = images.write_image(tmp_path / "image.dcm", parts.file)
    pixels = read_radiograph(image).pixels
    assert pixels.shape in ((1, 64, 66), (1, 65, 67))


@FUZZING
@given(file=headers_changed())
def test_a_changed_header_gives_an_image_or_a_reason(read: Callable, file: bytes) -> None:
    read(file)


@FUZZING
@given(file=files_changed())
def test_a_changed_file_gives_an_image_or_a_reason(read: Callable, file: bytes) -> None:
    read(file)


@FUZZING
@given(file=codestreams_damaged())
def test_a_damaged_codestream_gives_an_image_or_a_reason(read: Callable, file: bytes) -> None:
    read(file)


@FUZZING
@given(file=files_cut())
def test_a_cut_file_is_rejected(read: Callable, file: bytes) -> None:
    assert isinstance(read(file), RejectedImage)


@FUZZING
@given(file=pixels_lengthened())
def test_bytes_inserted_into_pixel_data_are_rejected(read: Callable, file: bytes) -> None:
    assert isinstance(read(file), RejectedImage)


@FUZZING
@given(file=pixels_shortened())
def test_bytes_taken_out_of_pixel_data_are_rejected(read: Callable, file: bytes) -> None:
    assert isinstance(read(file), RejectedImage)


@FUZZING
@given(file=codestreams_cut())
def test_a_cut_codestream_is_rejected(read: Callable, file: bytes) -> None:
    assert isinstance(read(file), RejectedImage)


@FUZZING
@given(noise=st.binary(max_size=400), syntax=st.sampled_from(images.NATIVE))
def test_noise_behind_a_good_preamble_is_rejected(read: Callable, noise: bytes, syntax: str) -> None:
    meta = images.make_element(0x00020010, "UI", syntax.encode())
    assert isinstance(read(bytes(128) + b"DICM" + meta + noise), RejectedImage)
