"""Films read in child processes: a child that dies, hangs or lies costs one film, and the batch goes on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from scripts.errors import RefusedFilm
from scripts.radiographs import IsolatedReader, Radiograph, read_radiograph, read_radiographs, workers
from tests import films


def write_films(folder: Path, *names: str) -> list[Path]:
    return [
        films.write_film(folder / f"{name}.dcm", films.make_film(films.draw_values(seed=seed)))
        for seed, name in enumerate(names)
    ]


def list_children() -> set[str]:
    """Processes that any thread of this one started."""
    return {child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()}


@pytest.mark.parametrize("number", [1, 3])
def test_a_batch_is_read_in_order_with_the_pixels_and_facts_of_single_reading(tmp_path: Path, number: int) -> None:
    paths = write_films(tmp_path, *"abcdefghijk")
    found = list(read_radiographs(iter(paths), workers=number))
    assert [path for path, _ in found] == paths
    for path, film in found:
        alone = read_radiograph(path)
        assert isinstance(film, Radiograph)
        np.testing.assert_array_equal(film.pixels, alone.pixels)
        assert film.facts == alone.facts


def test_a_refused_film_stands_in_its_place_with_its_reason(tmp_path: Path) -> None:
    good, bad, last = write_films(tmp_path, "good", "bad", "last")
    bad.write_bytes(bad.read_bytes()[:3000])
    results = dict(read_radiographs([good, bad, tmp_path / "absent.dcm", last]))
    assert [getattr(film, "reason", "read") for film in results.values()] == ["read", "truncated", "unreadable", "read"]


def test_options_reach_the_children(tmp_path: Path) -> None:
    path = films.write_film(tmp_path / "film.dcm", films.make_film(SOPClassUID=films.SECONDARY_CAPTURE))
    assert isinstance(next(read_radiographs([path]))[1], RefusedFilm)
    assert isinstance(next(read_radiographs([path], accept_secondary_capture=True))[1], Radiograph)


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("dies", "its process died"),
        ("hangs", "it took over 1 s"),
        ("loops", "it took over 1 s"),
        ("eats", "its process died"),
        ("lies", "its process died"),
    ],
)
def test_a_decoder_that_fails_costs_one_film_and_the_batch_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, detail: str
) -> None:
    monkeypatch.setattr(workers, "WORKER", "tests.faulty_worker")
    paths = write_films(tmp_path, "first", fault, "second", "third")
    found = [film for _, film in read_radiographs(paths, workers=1, seconds_per_film=1, memory_bytes=2**31)]
    assert [isinstance(film, Radiograph) for film in found] == [True, False, True, True]
    refused = found[1]
    assert isinstance(refused, RefusedFilm)
    assert (refused.reason, refused.path) == ("decode_error", str(paths[1]))
    assert detail in str(refused)


def test_a_child_lives_on_from_film_to_film(tmp_path: Path) -> None:
    reader, paths = IsolatedReader(), write_films(tmp_path, "a", "b")
    reader.read(paths[0])
    children = list_children()
    reader.read(paths[1])
    with pytest.raises(RefusedFilm):
        reader.read(tmp_path / "absent.dcm")
    assert list_children() == children
    reader.close()
    assert len(list_children()) == len(children) - 1


def test_no_child_is_left_when_a_batch_is_given_up(tmp_path: Path) -> None:
    before = list_children()
    films_read = read_radiographs(write_films(tmp_path, *"abcdef"))
    next(films_read)
    assert list_children() > before
    films_read.close()
    assert list_children() == before


def test_a_child_that_cannot_start_is_an_error_and_refuses_no_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORKER", "tests.no_such_worker")
    with pytest.raises(RuntimeError, match="the decoding process does not start"):
        list(read_radiographs(write_films(tmp_path, "a")))
    with pytest.raises(ValueError, match="expected at least 1 worker, got 0"):
        list(read_radiographs([], workers=0))


def test_an_inflating_or_endless_film_is_refused_by_real_limits(tmp_path: Path) -> None:
    """RLE may repeat a byte 128 times: 100 KB of it are more than the child's memory where a film holds 64 MiB."""
    film = films.make_film(films.draw_values(12, 64, 64))
    film.Rows = film.Columns = 8192
    segment = b"\x81\x00" * 2_000_000
    header = np.array([2, 64, 64 + len(segment), *[0] * 13], dtype="<u4").tobytes()
    films.encapsulate_codestream(film, header + segment * 2, films.RLE)
    path = films.write_film(tmp_path / "film.dcm", film)
    started = time.monotonic()
    refused = next(read_radiographs([path], seconds_per_film=5, memory_bytes=2**29))[1]
    assert isinstance(refused, RefusedFilm)
    assert refused.reason == "decode_error"
    assert time.monotonic() - started < 60
