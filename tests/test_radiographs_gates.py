"""The reader's gates: every reason code has a file behind it, and no patient comes out."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import re
import struct
import tarfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.encaps import encapsulate
from scripts.errors import REASONS, RejectedImage
from scripts.radiographs import read_radiograph

from tests import images

Build = Callable[[], bytes]


def reject(path: Path, file: bytes, **options: bool) -> RejectedImage:
    path.write_bytes(file)
    with pytest.raises(RejectedImage) as caught:
        read_radiograph(path, **options)
    return caught.value


def make_bytes(**elements: object) -> bytes:
    return images.to_bytes(images.make_image(**elements))  # type: ignore[arg-type]


def cut_file(keep: float) -> bytes:
    file = make_bytes()
    return file[: int(keep * len(file))]


def nest_sequences(levels: int, defined: bool) -> bytes:
    """A private sequence in a sequence in a sequence ..., with lengths or with delimiters."""
    head, item = b"\x09\x00\x01\x10SQ\0\0", b"\xfe\xff\x00\xe0"
    if not defined:
        return (head + b"\xff" * 4 + item + b"\xff" * 4) * levels
    inner = b""
    for _ in range(levels):
        inner = item + struct.pack("<I", len(inner)) + inner
        inner = head + struct.pack("<I", len(inner)) + inner
    return inner


def inflate_to(size: int) -> bytes:
    """A deflated image with one element of `size` zeros in front."""
    head = b"\x09\x00\x01\x10OB\0\0" + struct.pack("<I", size)
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    parts = [compressor.compress(head)] + [compressor.compress(bytes(2**20)) for _ in range(size // 2**20)]
    meta = images.make_element(0x00020010, "UI", images.DEFLATED.encode())
    return bytes(128) + b"DICM" + meta + b"".join(parts) + compressor.flush()


def set_pixel_data(data: bytes, **elements: object) -> bytes:
    image = images.make_image(**elements)  # type: ignore[arg-type]
    image.add_new("PixelData", "OW", data)
    return images.to_bytes(image)


def swap_codestream(codestream: bytes, syntax: str, bits: int = 8) -> bytes:
    return images.to_bytes(images.encapsulate_codestream(images.make_image(bits=bits), codestream, syntax))


def measure_jpeg(marker: int, bits: int, rows: int, columns: int, samples: int = 1) -> bytes:
    """A JPEG that is a frame header and nothing else."""
    return b"\xff\xd8\xff" + struct.pack(">BHBHHB", marker, 8 + 3 * samples, bits, rows, columns, samples) + b"\1\x11\0"


def break_lookup(**changes: object) -> bytes:
    image, item = images.make_image(), images.make_lookup_table(0, list(range(4096)))
    for keyword, value in changes.items():
        setattr(item, keyword, value)
    image.ModalityLUTSequence = [item]
    return images.to_bytes(image)


def set_transfer_syntax(syntax: str, image: pydicom.Dataset) -> bytes:
    file = images.to_bytes(image)
    element = images.make_element(0x00020010, "UI", str(image.file_meta.TransferSyntaxUID).encode())
    return file.replace(element, images.make_element(0x00020010, "UI", syntax.encode()))


def pretend_syntax(syntax: str, written: str) -> bytes:
    """An image of another syntax than the file meta information says."""
    return set_transfer_syntax(syntax, images.make_image(syntax=written))


def make_rgb() -> bytes:
    image = images.make_image(bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    image.PixelData = image.PixelData * 3
    return images.to_bytes(image)


def pad_pixel_data(padding: bytes) -> bytes:
    return set_pixel_data(images.make_image().PixelData + padding)


def encode_rle(segments: list[bytes]) -> bytes:
    """RLE data of these segments, each padded to an even number of bytes (PS3.5 G.4 and G.5)."""
    padded = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = np.cumsum([64] + [len(segment) for segment in padded])[:-1]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(padded)


def swap_segments() -> bytes:
    data = encode_rle([RUNS, RUNS])
    return data[:4] + data[8:12] + data[4:8] + data[12:]


#: An RLE segment of 80 rows of 72 equal bytes, one with a last row of 80, and one that ends inside its last row.
RUNS = bytes(number for row in range(80) for number in (257 - 72, row))
BLANK = bytes([257 - 72, 0]) * 80
LONG_RUN, CUT_RUN = RUNS[:-2] + bytes([257 - 80, 0]), RUNS[:-2] + bytes([71]) + bytes(70)
TRAILING_PADDING = images.make_element(0xFFFCFFFC, "OB", bytes(64))
PATIENT = images.make_element(0x00100010, "PN", b"CANARY^BIRD")
MANY_ELEMENTS = b"".join(images.make_element(0x00090000 + i, "LO", b"") for i in range(1, 20_002))
DEEP_LOOKUP = images.make_element(0x00283010, "SQ", b"\xfe\xff\x00\xe0" + b"\xff" * 4 + nest_sequences(500, False))
CODESTREAM_8K = measure_jpeg(0xC0, 8, 8192, 8192)

#: What is wrong with a file, the reason code that it is rejected with, and the file.
BROKEN: list[tuple[str, str, Build]] = [
    ("an empty file", "not_dicom", lambda: b""),
    ("a text", "not_dicom", lambda: b"no image at all " * 20),
    ("a PNG picture without the option", "not_dicom", lambda: images.encode_picture(images.draw_values(8), "PNG")),
    ("no preamble", "not_dicom", lambda: make_bytes()[132:]),
    ("a preamble and nothing else", "malformed", lambda: bytes(128) + b"DICM"),
    ("a transfer syntax that is a name", "malformed", lambda: set_transfer_syntax("CANARY", images.make_image())),
    ("sequences 10,000 deep", "malformed", lambda: images.insert_elements(make_bytes(), nest_sequences(10_000, False))),
    ("sequences with lengths", "malformed", lambda: images.insert_elements(make_bytes(), nest_sequences(300, True))),
    ("a deep lookup table", "malformed", lambda: images.insert_elements(make_bytes(), DEEP_LOOKUP)),
    ("20,001 elements", "malformed", lambda: images.insert_elements(make_bytes(), MANY_ELEMENTS)),
    ("an element twice", "malformed", lambda: images.insert_elements(make_bytes(), MANY_ELEMENTS[:8] * 2)),
    ("an unknown VR", "malformed", lambda: images.insert_elements(make_bytes(), b"\x09\0\x01\x10??\x02\0ab")),
    ("a delimiter alone", "malformed", lambda: images.insert_elements(make_bytes(), b"\xfe\xff\xdd\xe0" + bytes(4))),
    ("explicit, said to be implicit", "truncated", lambda: set_transfer_syntax(images.IMPLICIT, images.make_image())),
    ("native pixels, said to be RLE", "malformed", lambda: set_transfer_syntax(images.RLE, images.make_image())),
    (
        "RLE, said native",
        "malformed",
        lambda: set_transfer_syntax(images.EXPLICIT, images.make_image(syntax=images.RLE)),
    ),
    ("not deflated", "malformed", lambda: set_transfer_syntax(images.DEFLATED, images.make_image())),
    ("half a file", "truncated", lambda: cut_file(0.5)),
    ("a file cut in its header", "truncated", lambda: make_bytes()[:451]),
    ("half a deflated file", "truncated", lambda: images.to_bytes(images.make_image(syntax=images.DEFLATED))[:4000]),
    ("half an RLE file", "truncated", lambda: images.to_bytes(images.make_image(syntax=images.RLE))[:4000]),
    ("too few pixels", "truncated", lambda: set_pixel_data(bytes(100))),
    ("inflates to 256 MiB", "too_large", lambda: inflate_to(2**28)),
    ("RLE of three pictures", "too_large", lambda: swap_codestream(bytes(80 * 72 * 5), images.RLE)),
    ("computed tomography", "unsupported_sop", lambda: make_bytes(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")),
    ("a segmentation", "unsupported_sop", lambda: make_bytes(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")),
    ("a dose", "unsupported_sop", lambda: make_bytes(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")),
    ("no SOP class", "unsupported_sop", lambda: make_bytes(SOPClassUID=None)),
    ("a Secondary Capture", "unsupported_sop", lambda: make_bytes(SOPClassUID=images.SECONDARY_CAPTURE)),
    ("no pixel data", "no_pixels", lambda: make_bytes(PixelData=None)),
    ("colour", "not_gray", make_rgb),
    ("a palette", "not_gray", lambda: make_bytes(PhotometricInterpretation="PALETTE COLOR")),
    ("two samples", "not_gray", lambda: make_bytes(SamplesPerPixel=2)),
    ("no samples", "not_gray", lambda: make_bytes(SamplesPerPixel=None)),
    ("two frames", "multiframe", lambda: make_bytes(NumberOfFrames=2)),
    ("no frames", "bad_geometry", lambda: make_bytes(NumberOfFrames=0)),
    ("65535 rows", "bad_geometry", lambda: make_bytes(Rows=65535, Columns=65535)),
    ("63 columns", "bad_geometry", lambda: images.to_bytes(images.make_image(images.draw_values(12, 64, 63)))),
    ("no rows", "bad_geometry", lambda: make_bytes(Rows=None)),
    ("4 bits stored", "bad_geometry", lambda: make_bytes(BitsStored=4, HighBit=3)),
    ("17 bits stored in 16", "bad_geometry", lambda: make_bytes(BitsStored=17, HighBit=16)),
    ("32 bits", "bad_geometry", lambda: set_pixel_data(bytes(80 * 72 * 4), BitsAllocated=32)),
    ("left-aligned bits", "bad_geometry", lambda: make_bytes(HighBit=15)),
    ("an unknown representation", "bad_geometry", lambda: make_bytes(PixelRepresentation=2)),
    ("more pixels than declared", "bad_geometry", lambda: pad_pixel_data(bytes(80 * 72 * 2))),
    ("padding of 18 zeros", "bad_geometry", lambda: pad_pixel_data(bytes(18))),
    ("padding that is not zero", "bad_geometry", lambda: pad_pixel_data(b"\0\1")),
    ("two bytes behind the pixels", "malformed", lambda: make_bytes() + bytes(2)),
    ("a patient behind the pixels", "malformed", lambda: make_bytes() + PATIENT),
    ("pixels behind the pixels", "malformed", lambda: make_bytes() + images.make_element(0x7FE00010, "OW", bytes(8))),
    ("a patient behind the padding", "malformed", lambda: make_bytes() + TRAILING_PADDING + PATIENT),
    ("half of the padding", "truncated", lambda: (make_bytes() + TRAILING_PADDING)[:-32]),
    ("bytes behind RLE", "malformed", lambda: make_bytes(syntax=images.RLE) + bytes(8)),
    ("bytes behind the deflated", "malformed", lambda: make_bytes(syntax=images.DEFLATED) + b"\1\2"),
    ("a JPEG of 8192", "bad_geometry", lambda: swap_codestream(CODESTREAM_8K, images.JPEG)),
    ("a JPEG in colour", "bad_geometry", lambda: swap_codestream(measure_jpeg(0xC0, 8, 80, 72, 3), images.JPEG)),
    (
        "12-bit JPEG",
        "unsupported_syntax",
        lambda: swap_codestream(measure_jpeg(0xC1, 12, 80, 72), images.JPEG_EXTENDED),
    ),
    ("MPEG-2", "unsupported_syntax", lambda: swap_codestream(b"\0\0\1\xb3", "1.2.840.10008.1.2.4.100")),
    ("GE's private syntax", "unsupported_syntax", lambda: pretend_syntax("1.2.840.113619.5.2", images.IMPLICIT)),
    ("a deflated JPIP", "unsupported_syntax", lambda: pretend_syntax("1.2.840.10008.1.2.4.95", images.DEFLATED)),
    ("an invented syntax", "unsupported_syntax", lambda: set_transfer_syntax("1.2.3", images.make_image())),
    ("a JPEG without a frame", "decode_error", lambda: swap_codestream(b"\xff\xd8\xff\xd9", images.JPEG)),
    ("a JPEG of a header", "truncated", lambda: swap_codestream(measure_jpeg(0xC0, 8, 80, 72), images.JPEG)),
    (
        "a JPEG of a header and an end",
        "decode_error",
        lambda: swap_codestream(measure_jpeg(0xC0, 8, 80, 72) + b"\xff\xd9", images.JPEG),
    ),
    ("no JPEG 2000", "decode_error", lambda: swap_codestream(bytes(200), images.JPEG_2000, 12)),
    ("a codestream of zeros", "decode_error", lambda: swap_codestream(bytes(4), images.JPEG_LS, 12)),
    ("broken RLE", "decode_error", lambda: swap_codestream(bytes(200), images.RLE, 12)),
    ("RLE of a header's half", "decode_error", lambda: swap_codestream(bytes(32), images.RLE, 12)),
    ("RLE of one segment for 16 bits", "decode_error", lambda: swap_codestream(encode_rle([RUNS]), images.RLE, 12)),
    ("RLE of three segments", "decode_error", lambda: swap_codestream(encode_rle([RUNS] * 3), images.RLE, 12)),
    ("RLE of segments in disorder", "decode_error", lambda: swap_codestream(swap_segments(), images.RLE, 12)),
    ("RLE of a row too few", "truncated", lambda: swap_codestream(encode_rle([RUNS, RUNS[:-2]]), images.RLE, 12)),
    ("RLE cut in a literal", "truncated", lambda: swap_codestream(encode_rle([RUNS, CUT_RUN]), images.RLE, 12)),
    ("RLE of a row too many", "bad_geometry", lambda: swap_codestream(encode_rle([RUNS, LONG_RUN]), images.RLE, 12)),
    (
        "RLE with bytes behind",
        "bad_geometry",
        lambda: swap_codestream(encode_rle([RUNS, RUNS + b"ab"]), images.RLE, 12),
    ),
    ("a cropped RLE picture", "bad_geometry", lambda: make_bytes(syntax=images.RLE, Rows=79)),
    ("a rescale slope of 0", "bad_lookup", lambda: make_bytes(RescaleSlope=0, RescaleIntercept=0)),
    ("an endless rescale", "bad_lookup", lambda: make_bytes(RescaleSlope="1e308", RescaleIntercept=0)),
    ("a table without entries", "bad_lookup", lambda: break_lookup(LUTData=b"")),
    ("a table with too few entries", "bad_lookup", lambda: break_lookup(LUTDescriptor=[4095, 0, 16])),
    ("a table of 32 bits", "bad_lookup", lambda: break_lookup(LUTDescriptor=[4096, 0, 32])),
    ("a constant image", "bad_values", lambda: set_pixel_data(bytes(80 * 72 * 2))),
    ("all padding", "bad_values", lambda: set_pixel_data(bytes(80 * 72 * 2), PixelPaddingValue=0)),
    ("DX for processing", "out_of_scope", lambda: make_bytes(SOPClassUID=images.DX_FOR_PROCESSING)),
    ("intended for processing", "out_of_scope", lambda: make_bytes(PresentationIntentType="FOR PROCESSING")),
    ("a child", "out_of_scope", lambda: make_bytes(PatientAge="017Y")),
    ("a newborn", "out_of_scope", lambda: make_bytes(PatientAge="003D")),
    ("a child by dates", "out_of_scope", lambda: make_bytes(PatientBirthDate="20100101", StudyDate="20200101")),
    ("a lateral view", "out_of_scope", lambda: make_bytes(ViewPosition="LL")),
    ("a mirrored image", "out_of_scope", lambda: make_bytes(PatientOrientation=["R", "F"])),
    ("a rotated image", "out_of_scope", lambda: make_bytes(PatientOrientation=["F", "R"])),
    ("an image upside down", "out_of_scope", lambda: make_bytes(PatientOrientation=["R", "H"])),
    ("a lateral image", "out_of_scope", lambda: make_bytes(PatientOrientation=["A", "F"])),
    ("another modality", "out_of_scope", lambda: make_bytes(Modality="MG")),
]


@pytest.mark.parametrize(("what", "reason", "build"), BROKEN, ids=[what for what, _, _ in BROKEN])
def test_a_broken_image_is_rejected_with_its_reason(tmp_path: Path, what: str, reason: str, build: Build) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom writes what the test wants, and minds
        file = build()
    rejected = reject(tmp_path / "image.dcm", file)
    assert rejected.reason == reason, rejected
    assert str(tmp_path / "image.dcm") in str(rejected)
    assert "\n" not in str(rejected)
    assert rejected.__cause__ is None and rejected.__context__ is None


def pack(form: str) -> bytes:
    stream, file = io.BytesIO(), make_bytes()
    if form == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("image.dcm", file)
    elif form == "tar":
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("image.dcm"), io.BytesIO())
    else:
        compress = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}[form]
        stream.write(compress(file))
    return stream.getvalue()


@pytest.mark.parametrize("form", ["gzip", "zip", "tar", "bzip2", "xz"])
def test_an_archive_is_to_be_unpacked_says_its_reason(tmp_path: Path, form: str) -> None:
    rejected = reject(tmp_path / "image.dcm.gz", pack(form))
    assert (rejected.reason, rejected.detail) == ("not_dicom", f"a {form} archive: unpack it")


#: What a person sees who looks into the header, and a word of the reason.
REPORTED: list[tuple[dict[str, object], str, str]] = [
    ({"SOPClassUID": None}, "unsupported_sop", "no SOP Class UID in the data set; the file meta.*Computed Radiography"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "unsupported_sop", "CT Image Storage"),
    ({"SOPClassUID": "1.2.3"}, "unsupported_sop", "that DICOM does not list"),
    ({"NumberOfFrames": 0}, "bad_geometry", "number of frames is 0"),
    ({"NumberOfFrames": -1}, "bad_geometry", "number of frames is -1"),
    ({"NumberOfFrames": 3}, "multiframe", "3 frames"),
]


@pytest.mark.parametrize(("elements", "reason", "detail"), REPORTED)
def test_a_reason_is_what_a_person_finds(tmp_path: Path, elements: dict, reason: str, detail: str) -> None:
    rejected = reject(tmp_path / "image.dcm", make_bytes(**elements))
    assert rejected.reason == reason and re.search(detail, rejected.detail)


SIGNATURES = images.make_element(0xFFFAFFFA, "SQ", b"\xfe\xff\x00\xe0" + bytes(4))
PRIVATE = images.make_element(0x7FE10010, "LO", b"MAKER") + images.make_element(0x7FE11001, "OB", bytes(30))


@pytest.mark.parametrize("rest", [TRAILING_PADDING, SIGNATURES, PRIVATE, PRIVATE + SIGNATURES + TRAILING_PADDING])
@pytest.mark.parametrize("syntax", [images.EXPLICIT, images.RLE, images.JPEG_2000])
def test_padding_signatures_and_private_elements_may_follow_the_pixels(
    tmp_path: Path, syntax: str, rest: bytes
) -> None:
    path = images.write_image(tmp_path / "image.dcm", make_bytes(syntax=syntax))
    without = read_radiograph(path)
    path.write_bytes(path.read_bytes() + rest)
    assert read_radiograph(path).metadata == without.metadata
    np.testing.assert_array_equal(read_radiograph(path).pixels, without.pixels)


@pytest.mark.parametrize("padding", [2, 4, 16])
def test_a_few_zeros_behind_native_pixels_are_padding(tmp_path: Path, padding: int) -> None:
    without, padded = (images.write_image(tmp_path / name, make_bytes()) for name in ("without.dcm", "padded.dcm"))
    padded.write_bytes(pad_pixel_data(bytes(padding)))
    np.testing.assert_array_equal(read_radiograph(padded).pixels, read_radiograph(without).pixels)


def test_the_byte_that_makes_pixel_data_even_may_be_any(tmp_path: Path) -> None:
    image = images.make_image(images.draw_values(8, 65, 67), 8)
    without = read_radiograph(images.write_image(tmp_path / "image.dcm", image)).pixels
    image.PixelData = image.PixelData[:-1] + b" "
    np.testing.assert_array_equal(read_radiograph(images.write_image(tmp_path / "image.dcm", image)).pixels, without)


def test_a_deflated_image_may_be_padded_to_an_even_length(tmp_path: Path) -> None:
    path = images.write_image(tmp_path / "image.dcm", make_bytes(syntax=images.DEFLATED))
    without = read_radiograph(path).pixels
    path.write_bytes(path.read_bytes() + b"\0")
    np.testing.assert_array_equal(read_radiograph(path).pixels, without)


def test_rle_is_read_with_odd_segments_and_bytes_that_stand_for_nothing(tmp_path: Path) -> None:
    odd = RUNS[:-2] + b"\x80" + RUNS[-2:]
    path = tmp_path / "image.dcm"
    path.write_bytes(swap_codestream(encode_rle([BLANK, odd]), images.RLE, 12))
    rows = read_radiograph(path).pixels[0]
    np.testing.assert_allclose(rows, np.repeat(np.arange(80)[:, None], 72, axis=1) / 79, atol=1e-6)


COMPRESSED = (images.JPEG_LOSSLESS_14, images.JPEG_LOSSLESS_SV1, images.JPEG_LS, images.JPEG_2000, images.JPEG)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_cut_codestream_is_truncated_before_a_decoder_runs(
    tmp_path: Path, syntax: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.make_image(images.draw_values(8), 8, syntax)
    codestream = next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1)).rstrip(b"\0")
    without = read_radiograph(images.write_image(tmp_path / "image.dcm", image)).pixels
    padded = images.encapsulate_codestream(image, codestream + bytes(6), syntax)
    np.testing.assert_array_equal(read_radiograph(images.write_image(tmp_path / "image.dcm", padded)).pixels, without)
    monkeypatch.setattr("scripts.radiographs.reading.decode_stored_values", None)
    for cut in (codestream[:-2], codestream[:-1], codestream[: len(codestream) // 2 + 200]):
        assert reject(tmp_path / "image.dcm", swap_codestream(cut, syntax)).reason == "truncated"


def test_what_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.dcm", tmp_path, Path("/dev/zero"), tmp_path / "nul\0.dcm"):
        with pytest.raises(RejectedImage, match="unreadable"):
            read_radiograph(path)


def test_a_file_larger_than_any_image_is_not_even_opened(tmp_path: Path) -> None:
    with (tmp_path / "image.dcm").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(RejectedImage, match="too_large"):
        read_radiograph(tmp_path / "image.dcm")


def test_every_reason_code_has_a_file_behind_it() -> None:
    assert {reason for _, reason, _ in BROKEN} | {"unreadable"} == set(REASONS)


@pytest.mark.parametrize(
    ("reason", "build"),
    [
        ("decode_error", lambda: images.encode_picture(images.draw_values(8), "PNG")[:600]),
        ("decode_error", lambda: images.encode_picture(images.draw_values(8), "JPEG")[:600]),
        ("bad_geometry", lambda: images.encode_picture(images.draw_values(8, 60, 60), "PNG")),
        (
            "not_gray",
            lambda: images.encode_picture(np.stack([images.draw_values(8, seed=i) for i in range(3)], 2), "PNG"),
        ),
        ("bad_values", lambda: images.encode_picture(np.full((64, 64), 9), "PNG")),
        ("out_of_scope", lambda: images.encode_picture(images.draw_values(8), "JPEG", exif=b"Exif\0\0" + ROTATED)),
    ],
)
def test_a_broken_rendering_is_rejected_with_its_reason(tmp_path: Path, reason: str, build: Build) -> None:
    assert reject(tmp_path / "image.png", build(), accept_renderings=True).reason == reason


#: A TIFF directory of one entry: orientation 6.
ROTATED = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)


@pytest.mark.parametrize(
    "elements",
    [
        {"SOPClassUID": images.DX, "Modality": "DX", "PresentationIntentType": "FOR PRESENTATION"},
        {"BodyPartExamined": "FOOT"},
        {"PatientAge": "018Y"},
        {"PatientOrientation": ["L", "F"]},
        {"PatientOrientation": ["LF", "FR"]},
        {"PatientOrientation": ""},
        {"PatientOrientation": None, "ViewPosition": None, "BodyPartExamined": None},
        {"NumberOfFrames": 1},
        {"ViewPosition": "AP"},
    ],
)
def test_an_adults_frontal_image_passes_whatever_it_leaves_unsaid(tmp_path: Path, elements: dict) -> None:
    path = images.write_image(tmp_path / "image.dcm", images.make_image(**elements))
    assert read_radiograph(path).pixels.shape == (1, 80, 72)


def test_sequences_icons_and_private_elements_are_passed_over(tmp_path: Path) -> None:
    inner, icon = pydicom.Dataset(), images.make_image(images.draw_values(8), 8, images.RLE)
    inner.RequestedProcedureDescription, inner.ReferencedStudySequence = "x", [pydicom.Dataset()]
    icon.file_meta = None
    del icon.file_meta
    for syntax in images.LOSSLESS:
        image = images.make_image(syntax=syntax)
        image.RequestAttributesSequence = [inner, inner]
        if syntax not in images.NATIVE:
            image.IconImageSequence = [icon]
        image.private_block(0x99, "maker", create=True).add_new(1, "UN", b"private")
        image.add_new(0xFFFCFFFC, "OB", bytes(64))
        for undefined in (False, True):
            image["RequestAttributesSequence"].is_undefined_length = undefined
            inner.is_undefined_length_sequence_item = undefined
            path = images.write_image(tmp_path / "image.dcm", image)
            assert read_radiograph(path).metadata.transfer_syntax == syntax


def test_a_sequence_of_unknown_vr_is_walked_as_implicit(tmp_path: Path) -> None:
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", 14) + b"\x08\0\x04\x01" + struct.pack("<I", 6) + b"text  "
    sequence = b"\x09\0\x01\x10UN\0\0" + b"\xff" * 4 + item + b"\xfe\xff\xdd\xe0" + bytes(4)
    path = tmp_path / "image.dcm"
    path.write_bytes(images.insert_elements(make_bytes(), sequence))
    assert read_radiograph(path).pixels.shape == (1, 80, 72)


# --- nothing of a patient comes out -----------------------------------------------------------------------------------

CANARY = b"CANARY^BIRD"
TEXT_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")


def list_text_elements() -> list[tuple[int, str, str]]:
    """Tag, VR and keyword of every text element that DICOM knows, but of the file meta information and commands."""
    found = [(tag, entry[0], entry[4]) for tag, entry in DicomDictionary.items() if tag >> 16 > 6]
    return [(tag, vr, keyword) for tag, vr, keyword in found if vr in TEXT_VRS]


#: Without these, or with a canary in them, an image is rejected.
NEEDED = {"SOPClassUID", "PhotometricInterpretation", "NumberOfFrames", "RescaleSlope", "RescaleIntercept"}


def plant_canaries(image: pydicom.Dataset, keep: set[str]) -> bytes:
    """The image with the canary in every text element but those in `keep`."""
    elements = [(tag, vr) for tag, vr, keyword in list_text_elements() if keyword not in keep]
    for tag, _ in elements:
        if tag in image:
            del image[tag]
    file = images.to_bytes(image)
    sequence_item = b"\xfe\xff\x00\xe0" + struct.pack("<I", 20) + images.make_element(0x00100010, "PN", CANARY)
    planted = [images.make_element(tag, vr, CANARY) for tag, vr in elements]
    planted.append(images.make_element(0x00081140, "SQ", sequence_item))
    file = images.insert_elements(file, b"".join(planted))
    return CANARY.ljust(128) + file[128:]


def read_and_listen(path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    """Everything that reading this file lets out: result, message, traceback, log, output, warnings."""
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            reported = repr(read_radiograph(path, accept_secondary_capture=True).metadata)
        except RejectedImage as rejected:
            reported = f"{rejected!r} {rejected} {''.join(traceback.format_exception(rejected))}"
    output = capfd.readouterr()
    return " ".join([reported, caplog.text, output.out, output.err, *(str(warning.message) for warning in warned)])


def check_silence(reported: str) -> None:
    assert "canary" not in reported.lower()
    assert "bird" not in reported.lower()


@pytest.mark.parametrize("syntax", [images.EXPLICIT, images.RLE, images.JPEG_2000])
def test_no_text_of_an_image_comes_out_of_a_reading(
    tmp_path: Path, syntax: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(plant_canaries(images.make_image(syntax=syntax), NEEDED))
    reported = read_and_listen(path, caplog, capfd)
    assert "ImageMetadata" not in reported or "OTHER" in reported
    assert "out_of_scope" in reported  # the modality is a canary
    check_silence(reported)
    path.write_bytes(plant_canaries(images.make_image(syntax=syntax), {*NEEDED, "Modality"}))
    reported = read_and_listen(path, caplog, capfd)
    assert reported.startswith("ImageMetadata")
    check_silence(reported)


@pytest.mark.parametrize("needed", sorted(NEEDED))
def test_no_text_comes_out_of_a_failed_reading(
    tmp_path: Path, needed: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(plant_canaries(images.make_image(), {*NEEDED, "Modality"} - {needed}))
    reported = read_and_listen(path, caplog, capfd)
    assert "RejectedImage" in reported
    check_silence(reported)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_no_text_comes_out_of_a_cut_or_broken_file(
    tmp_path: Path, keep: float, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "image.dcm"
    for syntax in (images.EXPLICIT, images.JPEG_2000, images.RLE):
        file = plant_canaries(images.make_image(syntax=syntax), {*NEEDED, "Modality"})
        path.write_bytes(file[: int(keep * len(file))])
        check_silence(read_and_listen(path, caplog, capfd))
    image = images.encapsulate_codestream(images.make_image(), bytes(100), images.JPEG_2000)
    path.write_bytes(plant_canaries(image, {*NEEDED, "Modality"}))
    check_silence(read_and_listen(path, caplog, capfd))


def test_an_offset_table_changes_nothing(tmp_path: Path) -> None:
    image = images.make_image(syntax=images.JPEG_2000)
    path = images.write_image(tmp_path / "image.dcm", image)
    without = read_radiograph(path).pixels
    frame = next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([frame], has_bot=False)
    np.testing.assert_array_equal(read_radiograph(images.write_image(path, image)).pixels, without)
