"""Images read in child processes: a child that dies, hangs or lies costs one image, and the batch goes on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scripts.errors import InputError, RejectedImage
from scripts.radiographs import IsolatedReader, Radiograph, read_radiograph, read_radiographs, worker, workers

from tests import images


def write_images(folder: Path, *names: str) -> list[Path]:
    return [
        images.write_image(folder / f"{name}.dcm", images.make_image(images.draw_values(seed=seed)))
        for seed, name in enumerate(names)
    ]


def list_children() -> set[str]:
    """Processes that any thread of this one started."""
    return {child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()}


@pytest.mark.parametrize("number", [1, 3])
def test_a_batch_is_read_in_order_with_the_pixels_and_metadata_of_single_reading(tmp_path: Path, number: int) -> None:
    paths = write_images(tmp_path, *"abcdefghijk")
    found = list(read_radiographs(iter(paths), workers=number))
    assert [path for path, _ in found] == paths
    for path, image in found:
        alone = read_radiograph(path)
        assert isinstance(image, Radiograph)
        np.testing.assert_array_equal(image.pixels, alone.pixels)
        assert image.metadata == alone.metadata


def test_a_rejected_image_stands_in_its_place_with_its_reason(tmp_path: Path) -> None:
    good, bad, last = write_images(tmp_path, "good", "bad", "last")
    bad.write_bytes(bad.read_bytes()[:3000])
    results = dict(read_radiographs([good, bad, tmp_path / "absent.dcm", last]))
    assert [getattr(image, "reason", "read") for image in results.values()] == [
        "read",
        "truncated",
        "unreadable",
        "read",
    ]


def test_options_reach_the_children(tmp_path: Path) -> None:
    path = images.write_image(tmp_path / "image.dcm", images.make_image(SOPClassUID=images.SECONDARY_CAPTURE))
    assert isinstance(next(read_radiographs([path]))[1], RejectedImage)
    assert isinstance(next(read_radiographs([path], accept_secondary_capture=True))[1], Radiograph)


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("dies", "its process died"),
        ("hangs", "it took too long"),
        ("loops", "it took too long"),
        ("eats", "its process died"),
        ("lies", "its process died"),
    ],
)
def test_a_decoder_that_fails_costs_one_image_and_the_batch_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, detail: str
) -> None:
    monkeypatch.setattr(workers, "WORKER", "tests.faulty_worker")
    paths = write_images(tmp_path, "first", fault, "second", "third")
    found = [image for _, image in read_radiographs(paths, workers=1, seconds_per_image=1, memory_bytes=2**31)]
    assert [isinstance(image, Radiograph) for image in found] == [True, False, True, True]
    rejected = found[1]
    assert isinstance(rejected, RejectedImage)
    assert (rejected.reason, rejected.path) == ("decode_error", str(paths[1]))
    assert detail in str(rejected)


def test_a_child_lives_on_from_image_to_image(tmp_path: Path) -> None:
    reader, paths = IsolatedReader(), write_images(tmp_path, "a", "b")
    reader.read(paths[0])
    children = list_children()
    reader.read(paths[1])
    with pytest.raises(RejectedImage):
        reader.read(tmp_path / "absent.dcm")
    assert list_children() == children
    reader.close()
    assert len(list_children()) == len(children) - 1


def test_no_child_is_left_when_a_batch_is_given_up(tmp_path: Path) -> None:
    before = list_children()
    images_read = read_radiographs(write_images(tmp_path, *"abcdef"))
    next(images_read)
    assert list_children() > before
    images_read.close()
    assert list_children() == before


def test_a_child_that_cannot_start_is_an_error_and_rejects_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORKER", "tests.no_such_worker")
    with pytest.raises(InputError, match="a decoding process that starts"):
        list(read_radiographs(write_images(tmp_path, "a")))
    with pytest.raises(ValueError, match="expected at least 1 worker, got 0"):
        list(read_radiographs([], workers=0))


def test_decoding_is_bounded_by_the_images_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    (path,) = write_images(tmp_path, "image")
    read_radiograph(path, before_decoding=sizes.append)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(RejectedImage, match="truncated"):
        read_radiograph(path, before_decoding=sizes.append)
    assert sizes == [80 * 72]
    limits: list[float] = []
    monkeypatch.setattr(worker, "_limit_computing", limits.append)
    for seconds, pixels in ((60, 256 * 256), (60, 3000 * 3000), (60, 8192 * 8192), (1, 64 * 64)):
        worker._limit_decoding(seconds, pixels)
    assert limits == pytest.approx([5.066, 14, 60, 1], abs=0.001)


def test_an_inflating_or_endless_image_is_rejected_by_real_limits(tmp_path: Path) -> None:
    """RLE repeats a byte up to 128 times: 2 MB of it are the largest image, which is more than this child's memory."""
    image = images.make_image(images.draw_values(12, 64, 64))
    image.Rows = image.Columns = 8192
    segment = b"\x81\x00\x81\x01" * (8192 * 8192 // 256)
    header = np.array([2, 64, 64 + len(segment), *[0] * 13], dtype="<u4").tobytes()
    images.encapsulate_codestream(image, header + segment * 2, images.RLE)
    path = images.write_image(tmp_path / "image.dcm", image)
    started = time.monotonic()
    rejected = next(read_radiographs([path], seconds_per_image=5, memory_bytes=2**29))[1]
    assert isinstance(rejected, RejectedImage)
    assert rejected.reason == "decode_error"
    assert time.monotonic() - started < 60
