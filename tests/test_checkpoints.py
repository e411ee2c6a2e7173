"""Weights on disk: whole, hashed, rejected when damaged, and never lost to a kill."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
import torch
from ignite.engine import Engine
from scripts.checkpoints import (
    SafeCheckpointSaver,
    claim_training_folder,
    load_members,
    load_weights,
    name_origin,
    read_origin,
    read_weights,
    save_weights,
    ship_weights,
)
from scripts.errors import InputError
from torch import nn


def build_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


def hash_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def save_half(state: object, file: IO[bytes]) -> None:
    """Stands for `torch.save` on a disk that fills up."""
    file.write(b"half of a zip")
    raise OSError(28, "No space left on device")


def are_equal(state: dict, other: dict) -> bool:
    return state.keys() == other.keys() and all(torch.equal(state[key], other[key]) for key in state)


def run_epochs(
    output_dir: Path, metrics: list[dict[str, float]], network: nn.Module | None = None
) -> SafeCheckpointSaver:
    """A training of one epoch for each dictionary, in which the weights count the epochs."""
    network, evaluator = network or nn.Linear(1, 1), SimpleNamespace(state=SimpleNamespace(metrics={}))
    keeper = SafeCheckpointSaver(output_dir, {"network": network}, evaluator, metric="study_map")  # type: ignore[arg-type]

    def step(engine: Engine, batch: int) -> None:
        nn.init.constant_(next(network.parameters()), engine.state.epoch)
        evaluator.state.metrics = metrics[engine.state.epoch - 1]

    trainer = Engine(step)
    keeper.attach(trainer)
    trainer.run([0], max_epochs=len(metrics))
    return keeper


def test_weights_are_read_back_as_they_were(tmp_path: Path):
    state = build_network().state_dict()
    save_weights(state, tmp_path / "a.pt")
    assert are_equal(read_weights(tmp_path / "a.pt"), state)


def test_the_hash_stands_beside_the_weights_as_sha256sum_writes_it(tmp_path: Path):
    path = tmp_path / "a.pt"
    save_weights(build_network().state_dict(), path)
    assert hash_file(path).read_text() == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  a.pt\n"


@pytest.mark.parametrize("place", [0, 0.3, 0.5, 0.99])
def test_a_flipped_bit_is_rejected(tmp_path: Path, place: float):
    path = tmp_path / "a.pt"
    save_weights(build_network().state_dict(), path)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"expected .*a\.pt with the SHA-256 in a\.pt\.sha256, found .*; fetch the"):
        read_weights(path)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("kept", [0, 10, 500])
def test_truncated_weights_are_rejected_with_and_without_a_hash(tmp_path: Path, kept: int, hashed: bool):
    path = tmp_path / "a.pt"
    save_weights(build_network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:kept])
    if not hashed:
        hash_file(path).unlink()
    with pytest.raises(InputError, match=r"a\.pt"):
        read_weights(path)


def test_missing_weights_are_rejected_by_name(tmp_path: Path):
    with pytest.raises(InputError, match=r"found nothing at .*absent\.pt; train first, or correct the path"):
        read_weights(tmp_path / "absent.pt")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no hash\n"])
def test_a_damaged_hash_file_vouches_for_nothing(tmp_path: Path, content: bytes):
    path = tmp_path / "a.pt"
    save_weights(build_network().state_dict(), path)
    hash_file(path).write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        read_weights(path)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text"])
def test_a_file_that_holds_no_dictionary_is_rejected(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match="expected a dictionary of weights"):
        read_weights(tmp_path / "a.pt")


class Planted:
    """Code that a pickle may run when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def test_code_in_a_file_of_weights_is_rejected_and_not_run(tmp_path: Path):
    torch.save({"network": Planted(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="expected a whole file of weights"):
        read_weights(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network_are_rejected(tmp_path: Path):
    save_weights(nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"expected weights of this network, found others at .*a\.pt"):
        load_weights(build_network(), tmp_path / "a.pt")


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"network": state, "epoch": 3}])
def test_a_network_is_loaded_from_weights_and_from_a_trainings_checkpoint(tmp_path: Path, wrap):
    source, target = build_network(seed=1), build_network(seed=2)
    save_weights(wrap(source.state_dict()), tmp_path / "a.pt")
    assert load_weights(target, tmp_path / "a.pt") is target
    assert are_equal(target.state_dict(), source.state_dict())


def test_shipped_weights_are_half_as_large_and_come_back_in_the_networks_precision(tmp_path: Path):
    network = nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100))
    network(torch.randn(8, 100))  # counts a batch
    save_weights({"network": network.state_dict(), "epoch": 1}, tmp_path / "last.pt")
    ship_weights(tmp_path / "last.pt", tmp_path / "model.pt")
    shipped = read_weights(tmp_path / "model.pt")
    assert shipped["0.weight"].dtype == torch.float16 and shipped["1.num_batches_tracked"].dtype == torch.int64
    assert (tmp_path / "model.pt").stat().st_size < 0.6 * (tmp_path / "last.pt").stat().st_size

    loaded = load_weights(nn.Sequential(nn.Linear(100, 100), nn.BatchNorm1d(100)), tmp_path / "model.pt").state_dict()
    for key, value in network.state_dict().items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=2**-10, atol=1e-6)


def test_shipping_rejects_a_damaged_checkpoint_and_writes_nothing(tmp_path: Path):
    save_weights({"network": nn.Linear(1, 1).state_dict()}, tmp_path / "last.pt")
    (tmp_path / "last.pt").write_bytes(b"damaged")
    with pytest.raises(InputError, match="SHA-256"):
        ship_weights(tmp_path / "last.pt", tmp_path / "model.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "last.pt.sha256"]


def test_a_checkpoint_is_not_shipped_over_itself(tmp_path: Path):
    save_weights({"network": build_network().state_dict(), "epoch": 3}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="expected another file than the checkpoint"):
        ship_weights(tmp_path / "last.pt", tmp_path / "." / "last.pt")
    assert read_weights(tmp_path / "last.pt")["epoch"] == 3


def test_a_save_that_fails_leaves_the_previous_file_and_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, state = tmp_path / "a.pt", build_network().state_dict()
    save_weights(state, path)
    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(OSError, match="No space left"):
        save_weights(build_network(seed=1).state_dict(), path)
    assert are_equal(read_weights(path), state)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pt", "a.pt.sha256"]


def test_the_last_two_epochs_and_the_best_one_are_kept(tmp_path: Path):
    run_epochs(tmp_path, [{"study_map": 0.2}, {"study_map": 0.4}, {"study_map": 0.3}])
    kept = {name: read_weights(tmp_path / f"{name}.pt")["epoch"] for name in ("last", "previous", "best")}
    assert kept == {"last": 3, "previous": 2, "best": 2}
    assert all(hash_file(tmp_path / f"{name}.pt").is_file() for name in kept)
    assert read_weights(tmp_path / "best.pt")["network"]["weight"].item() == 2


@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_never_best(tmp_path: Path, metric: float):
    keeper = run_epochs(tmp_path, [{"study_map": metric}, {"study_map": 0.1}, {"study_map": metric}])
    assert keeper.best == 0.1
    assert read_weights(tmp_path / "best.pt")["epoch"] == 2


def test_without_a_validation_there_is_no_best(tmp_path: Path):
    run_epochs(tmp_path, [{}, {}])
    assert not (tmp_path / "best.pt").exists()
    assert read_weights(tmp_path / "last.pt")["epoch"] == 2


def test_the_metric_of_an_earlier_epoch_does_not_make_a_later_one_best(tmp_path: Path):
    """Between validations the evaluator still holds the metric of its last run."""
    run_epochs(tmp_path, [{"study_map": 0.4}, {"study_map": 0.4}, {"study_map": 0.4}])
    assert read_weights(tmp_path / "best.pt")["epoch"] == 1


@pytest.mark.parametrize("metrics", [{}, {"study_map": 0.2}])
def test_a_training_whose_save_fails_leaves_the_last_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, float]
):
    run_epochs(tmp_path, [{"study_map": 0.1}])
    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(OSError, match="No space left"):
        run_epochs(tmp_path, [metrics])
    assert read_weights(tmp_path / "last.pt")["epoch"] == 1
    assert read_weights(tmp_path / "best.pt")["epoch"] == 1


def test_a_full_disk_at_any_write_leaves_a_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every file that is exchanged, the hashes too, fails once."""
    exchange, count, failing = os.replace, 0, -1

    def exchange_or_fail(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == failing:
            raise OSError(28, "No space left on device")
        exchange(source, target)

    monkeypatch.setattr(os, "replace", exchange_or_fail)
    run_epochs(tmp_path, [{"study_map": 0.1}, {"study_map": 0.2}])
    one_epoch = count
    run_epochs(tmp_path, [{"study_map": 0.3}])
    one_epoch = count - one_epoch
    assert one_epoch >= 6
    for number in range(1, one_epoch + 1):
        count, failing = 0, number
        with contextlib.suppress(OSError):  # fewer files are exchanged after a failure between two of them
            run_epochs(tmp_path, [{"study_map": 0.4}])
        assert read_weights(tmp_path / "last.pt")["network"]
        assert read_weights(tmp_path / "best.pt")["network"]
        assert read_weights(tmp_path / "previous.pt")["network"]


@pytest.mark.parametrize(
    "kills", [pytest.param(6, id="6 kills"), pytest.param(50, id="50 kills", marks=pytest.mark.slow)]
)
def test_a_kill_at_any_instant_leaves_a_checkpoint_that_loads(tmp_path: Path, kills: int):
    run_epochs(tmp_path, [{"study_map": 0.0}])
    for number in range(kills):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                run_epochs(tmp_path, [{"study_map": float(epoch)} for epoch in range(10_000)])
            os._exit(0)
        time.sleep(0.0173 * (number % 7) + 0.0011 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert "network" in read_weights(tmp_path / "last.pt")


def test_each_member_is_a_copy_with_its_own_weights(tmp_path: Path):
    network = nn.Linear(2, 1)
    before = network.weight.clone()
    for name, value in {"b": 2.0, "a": 1.0}.items():
        save_weights({"weight": torch.full((1, 2), value), "bias": torch.zeros(1)}, tmp_path / f"{name}.pt")
    copies = load_members(network, {"b": tmp_path / "b.pt", "a": tmp_path / "a.pt"})
    assert [copy.weight[0, 0].item() for copy in copies] == [1.0, 2.0], "by name"
    assert torch.equal(network.weight, before), "which stays as it was"


def test_a_member_may_be_another_network(tmp_path: Path):
    network, other = nn.Linear(2, 1), nn.Linear(3, 1)
    for name, width in {"a": 2, "b": 3}.items():
        save_weights({"weight": torch.full((1, width), 1.0), "bias": torch.zeros(1)}, tmp_path / f"{name}.pt")
    paths = {name: tmp_path / f"{name}.pt" for name in "ba"}
    members = load_members(network, paths, {"b": other, "unused": nn.Linear(9, 9)})
    assert [member.weight.shape[1] for member in members] == [2, 3]  # type: ignore[union-attr,index]
    with pytest.raises(InputError, match=r"weights of this network, found others at .*b\.pt"):
        load_members(network, paths)


def test_equal_weights_are_equal_files_whatever_they_are_called(tmp_path: Path):
    for name in ("a", "another"):
        save_weights(build_network().state_dict(), tmp_path / f"{name}.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()


def test_a_hash_that_lists_two_files_vouches_for_both(tmp_path: Path):
    """A kill between the hash and its file leaves the old file under a hash of both."""
    path, other = tmp_path / "a.pt", tmp_path / "b.pt"
    save_weights(build_network(1).state_dict(), path)
    save_weights(build_network(2).state_dict(), other)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (other, path)]
    hash_file(path).write_text("".join(f"{digest}  a.pt\n" for digest in digests))
    assert are_equal(read_weights(path), build_network(1).state_dict())
    save_weights(build_network(3).state_dict(), path)
    assert len(hash_file(path).read_text().splitlines()) == 1


def test_weights_say_what_they_belong_to_and_hold_tensors_only(tmp_path: Path):
    origin = {"config": "train.json", "image_size": 160}
    save_weights({"network": name_origin(build_network().state_dict(), origin)}, tmp_path / "last.pt")
    ship_weights(tmp_path / "last.pt", tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert read_origin(read_weights(tmp_path / "model.pt")) == origin
    load_weights(build_network(), tmp_path / "model.pt", image_size=160)


def test_another_image_size_than_the_weights_were_trained_on_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    save_weights(name_origin(build_network().state_dict(), {"image_size": 160}), tmp_path / "a.pt")
    load_weights(build_network(), tmp_path / "a.pt", image_size=224)
    assert "a.pt: trained on images of 160 px, used on 224 px" in caplog.text


class Normalising(torch.nn.Linear):
    """A network whose grey values are normalised by what no tensor of it shows."""

    pixel_mean, pixel_std = 0.5, 0.5


@pytest.mark.parametrize(("option", "value"), [("pixel_mean", 0.0), ("pixel_std", 1.0)])
def test_weights_of_other_grey_values_are_rejected(tmp_path: Path, option: str, value: float):
    origin = {"pixel_mean": 0.5, "pixel_std": 0.5, option: value}
    network = torch.nn.Sequential(Normalising(2, 2))
    save_weights(name_origin(network.state_dict(), origin), tmp_path / "a.pt")
    message = f"expected {option} {value}, by which a.pt was trained, found 0.5; set the network's {option} to it"
    with pytest.raises(InputError, match=re.escape(message)):
        load_weights(network, tmp_path / "a.pt")
    save_weights(name_origin(network.state_dict(), {"pixel_mean": 0.5, "pixel_std": 0.5}), tmp_path / "b.pt")
    load_weights(network, tmp_path / "b.pt")


def test_all_shipped_weights_say_what_they_belong_to():
    for path in sorted((Path(__file__).parents[1] / "bundle/models").glob("*.pt")):
        assert {"version", "encoder", "image_size", "pixel_mean", "pixel_std", "fold"} <= set(
            read_origin(read_weights(path))
        )


def test_a_missing_hash_is_told_and_of_weights_of_this_version_demanded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "a.pt"
    save_weights(build_network().state_dict(), path)
    hash_file(path).unlink()
    read_weights(path)
    assert "a.pt has no SHA-256 beside it" in caplog.text
    save_weights(name_origin(build_network().state_dict(), {"version": "0.5.0"}), path)
    hash_file(path).unlink()
    with pytest.raises(InputError, match=r"expected a\.pt\.sha256 beside .*, found none; fetch it with the weights"):
        read_weights(path)


@pytest.mark.parametrize(
    "content", [{"network": 3}, {"network": None}, {"network": {"0.weight": 1}}, {"0.weight": "x"}]
)
def test_a_dictionary_of_something_else_is_rejected(tmp_path: Path, content: dict):
    save_weights(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"expected weights of (this|a) network, found .* at .*a\.pt"):
        load_weights(build_network(), tmp_path / "a.pt")


def test_shared_members_are_kept_once(tmp_path: Path):
    network = nn.Linear(1, 1)
    members = {"network": network, "trained_network": network}
    keeper = SafeCheckpointSaver(tmp_path, members, SimpleNamespace(), "study_map")  # type: ignore[arg-type]
    assert list(keeper.members) == ["network"]


def resume(folder: Path, epochs: int) -> tuple[nn.Module, Engine]:
    network, evaluator = nn.Linear(1, 1), SimpleNamespace(state=SimpleNamespace(metrics={}))
    keeper = SafeCheckpointSaver(folder, {"network": network}, evaluator, "study_map", resume=True)  # type: ignore[arg-type]
    trainer = Engine(lambda engine, batch: None)
    keeper.attach(trainer)
    trainer.run([0], max_epochs=epochs)
    return network, trainer


def test_a_resumed_training_begins_behind_its_last_epoch(tmp_path: Path):
    run_epochs(tmp_path, [{}, {}])
    network, trainer = resume(tmp_path, 3)
    assert next(network.parameters()).item() == 2 and trainer.state.iteration == 3


def test_a_damaged_last_checkpoint_is_passed_over_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run_epochs(tmp_path, [{}, {}])
    (tmp_path / "last.pt").write_bytes(b"damaged")
    network, _ = resume(tmp_path, 2)
    assert next(network.parameters()).item() == 1
    assert "passed over: expected" in caplog.text and "last.pt" in caplog.text
    assert read_weights(tmp_path / "last.pt")["epoch"] == 2


@pytest.mark.parametrize("kept", ["nothing", "damaged ones"])
def test_without_a_whole_checkpoint_there_is_no_resuming(tmp_path: Path, kept: str):
    if kept != "nothing":
        run_epochs(tmp_path, [{}, {}])
        for name in ("last.pt", "previous.pt"):
            (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match="expected .*last.pt"):
        resume(tmp_path, 3)


def test_a_checkpoint_of_another_training_is_rejected(tmp_path: Path):
    save_weights({"network": build_network().state_dict(), "epoch": 1, "best": 0.0}, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"expected network, optimizer and history of this training, found others"):
        resume(tmp_path, 3)


def test_a_training_that_was_built_and_never_ran_leaves_no_results(tmp_path: Path):
    """MONAI builds a trainer, and TensorBoard's writer with it, where it checks a workflow's properties."""
    events = tmp_path / "events.out.tfevents.1.host"
    events.touch()
    claim_training_folder(tmp_path)
    (tmp_path / "last.pt").touch()
    with pytest.raises(InputError, match="found events.out.tfevents.1.host and 1 more"):
        claim_training_folder(tmp_path)
    claim_training_folder(tmp_path, replace=True)
    assert not events.exists() and not (tmp_path / "last.pt").exists()
