"""Configuration of the service: pacs.toml, each value checked before anything starts."""

from __future__ import annotations

import ssl
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from scripts.errors import InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
T = TypeVar("T")


@dataclass(frozen=True)
class Receiver:
    """C-STORE SCP.

    Args:
        host: address to listen on; anything but loopback wants TLS, or `trusted_network = true`.
        port: 0 listens nowhere.
        ae_title: its own; a caller has to know it.
        calling_ae_titles: those who may call; nobody else is accepted.
        max_associations: at a time; further ones are rejected, and twice as many connections at most are held open.
        max_pdu_bytes: longest PDU that is asked for.
        max_object_mb: an object that grows beyond it while it is received ends its connection.
        timeout_seconds: without a byte, after which a connection is closed.
        tls: take TLS connections only, by the section [tls].
        trusted_network: listen beyond loopback without TLS.
    """

    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "CXRCOVID19"
    calling_ae_titles: tuple[str, ...] = ()
    max_associations: int = 4
    max_pdu_bytes: int = 65536
    max_object_mb: int = 192
    timeout_seconds: float = 30.0
    tls: bool = False
    trusted_network: bool = False


@dataclass(frozen=True)
class Watcher:
    """Search of a DICOMweb server (QIDO-RS), and retrieval of what is new there (WADO-RS).

    Args:
        url: of the server; empty watches none.
        interval_seconds: between two searches.
        authorization_file: holds the value of the header Authorization.
        page_size: studies of one search.
    """

    url: str = ""
    interval_seconds: float = 10.0
    authorization_file: str = ""
    page_size: int = 500


@dataclass(frozen=True)
class Sender:
    """Destination of the results: a C-STORE SCP, or a DICOMweb server (STOW-RS).

    Args:
        host, port, ae_title: of the SCP.
        url: of the DICOMweb server instead.
        timeout_seconds: of an answer.
        tls: by the section [tls].
        authorization_file: as for the watcher.
    """

    host: str = "127.0.0.1"
    port: int = 4242
    ae_title: str = "ORTHANC"
    url: str = ""
    timeout_seconds: float = 60.0
    tls: bool = False
    authorization_file: str = ""


@dataclass(frozen=True)
class Scoring:
    """The bundle, and when it is asked.

    Args:
        bundle: its folder, with configs/inference.json and models/.
        quiet_seconds: without a new image, after which a study is complete.
        timeout_seconds: of one study; the worker is ended then.
        accept_secondary_capture: receive and read it too.
        threshold: operating point on 1 - the probability of negative; below 0 no study is called.
        attempts: to score or to send a study, before it is failed.
        first_pause_seconds, max_pause_seconds: between attempts; each pause is twice the one before.
    """

    bundle: str = "bundle"
    quiet_seconds: float = 30.0
    timeout_seconds: float = 600.0
    accept_secondary_capture: bool = False
    threshold: float = -1.0
    attempts: int = 20
    first_pause_seconds: float = 2.0
    max_pause_seconds: float = 600.0


@dataclass(frozen=True)
class Tls:
    """TLS of receiver and sender: certificate and key of this side, and who signed that of the other."""

    certificate: str = ""
    key: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Configuration:
    """Whole configuration.

    Args:
        folder: for the queue, images and results; of this service alone.
        page_port: of the status page and the metrics, on loopback; 0 shows none.
        max_waiting: studies that are not finished; further ones get a failure until some are.
        min_free_mb: of the disk; below it nothing more is received.
        keep_days: how long images and results of a finished study stay.
    """

    folder: Path = Path("runs/pacs")
    page_port: int = 8051
    max_waiting: int = 10_000
    min_free_mb: int = 1024
    keep_days: float = 7.0
    receiver: Receiver = field(default_factory=Receiver)
    watcher: Watcher = field(default_factory=Watcher)
    sender: Sender = field(default_factory=Sender)
    scoring: Scoring = field(default_factory=Scoring)
    tls: Tls = field(default_factory=Tls)


def read_configuration(path: str | Path) -> Configuration:
    """Read and check pacs.toml.

    Raises:
        InputError: where it is absent or no TOML, a key is unknown, or a value cannot be right.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError("a configuration in TOML", f"{path}: {error}", "see apps/pacs/pacs.toml") from None
    configuration = _build(Configuration, table, "the top level")
    _check(configuration)
    return configuration


def make_tls(tls: Tls, server: bool) -> ssl.SSLContext:
    """Context in which both sides show a certificate.

    Raises:
        InputError: where a file is missing or is none.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.authority)
    except (OSError, ssl.SSLError) as error:
        found = f"{type(error).__name__} in [tls]"
        raise InputError("certificate, key and authority as PEM files", found, "correct the paths") from None
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _build(kind: type[T], table: Mapping[str, Any], place: str) -> T:
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            nearest = get_close_matches(name, known, 1)
            advice = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(known)}"
            raise InputError(f"a known key of {place}", name, advice)
        default = known[name].default
        section = default is MISSING
        values[name] = _build(hints[name], value, f"[{name}]") if section else _convert(name, value, default)
    return kind(**values)


def _convert(name: str, value: Any, default: Any) -> Any:
    """A value of the default's kind; whole numbers stand for others too, lists of text for tuples."""
    if isinstance(default, Path) and isinstance(value, str):
        return Path(value)
    if isinstance(default, tuple) and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is type(default):
        return value
    raise InputError(f"{name} as {type(default).__name__}", repr(value)[:40], "correct the configuration")


def _check(configuration: Configuration) -> None:
    receiver, scoring = configuration.receiver, configuration.scoring
    if not receiver.port and not configuration.watcher.url:
        raise InputError("a receiver's port or a watcher's url", "neither", "set one of them")
    if receiver.port and not receiver.calling_ae_titles:
        raise InputError("calling_ae_titles in [receiver]", "none", "name the AE titles that may send studies")
    for title in (receiver.ae_title, configuration.sender.ae_title, *receiver.calling_ae_titles):
        if not (title.strip() and len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title):
            raise InputError("AE titles of 1 to 16 characters", repr(title)[:40], "correct it")
    if receiver.host not in LOOPBACK and not (receiver.tls or receiver.trusted_network):
        advice = "set tls = true, or trusted_network = true where the network itself is protected"
        raise InputError("a receiver on loopback or with TLS", receiver.host, advice)
    positive = {
        "max_associations": receiver.max_associations,
        "max_object_mb": receiver.max_object_mb,
        "max_waiting": configuration.max_waiting,
        "attempts": scoring.attempts,
        "timeout_seconds": min(receiver.timeout_seconds, configuration.sender.timeout_seconds, scoring.timeout_seconds),
        "keep_days": configuration.keep_days,
    }
    for name, value in positive.items():
        if value <= 0:
            raise InputError(f"{name} above 0", str(value), "correct it")
    if not (Path(scoring.bundle) / "configs" / "inference.json").is_file():
        raise InputError("a bundle with configs/inference.json", f"none in {scoring.bundle}", "correct bundle")
