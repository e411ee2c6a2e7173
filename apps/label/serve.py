"""Server for the packed bundle in MONAI Label, on loopback: `python -m apps.label.serve --studies FOLDER_OR_URL`.

It runs in MONAI Label's own environment (`make label`). The app is the stock one for bundles, and the bundle is put
into it unchanged; `--stock` leaves out the strategy of `apps.label.main`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import fire

BUNDLE, ORIGINS = "chest_xray_covid19", "MONAI_LABEL_CORS_ORIGINS"

#: What MONAI Label asks its environment for; every default that is wrong for radiographs is set here.
SETTINGS: dict[str, str] = {
    "MONAI_LABEL_DATASTORE_FILE_EXT": json.dumps(["*.dcm", "*.png"]),
    # the default asks for CT; a list of modalities is what Orthanc understands, beyond what QIDO-RS promises
    "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": json.dumps({"Modality": "CR,DX"}),
    # NIfTI loses photometric interpretation and window: our reader takes the DICOM file
    "MONAI_LABEL_DICOMWEB_CONVERT_TO_NIFTI": "false",
    "MONAI_LABEL_TRACKING_ENABLED": "false",
    # images are scored when somebody asks for it, not behind his back at every start
    "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
}


def build_app(release: str | Path, app: str | Path, stock: bool = False) -> Path:
    """Copy the stock app and the packed bundle into a folder; what it held before is replaced.

    Args:
        release: a packed bundle, as `make release` leaves it in dist/.
        app: the folder.
        stock: without the strategy of `apps.label.main`.

    Raises:
        SystemExit: in one line, where there is no packed bundle or no stock app.
    """
    release, app = Path(release), Path(app)
    template = Path(sys.prefix, "monailabel", "sample-apps", "monaibundle")
    for folder, what, advice in (
        (release / "scripts", "a packed bundle", "make it: make release"),
        (template, "MONAI Label's app for bundles", "run in MONAI Label's environment: make label"),
    ):
        if not folder.is_dir():
            raise SystemExit(f"error: expected {what}, found no folder {folder}; {advice}")
    shutil.rmtree(app, ignore_errors=True)
    shutil.copytree(template, app)
    shutil.copytree(release, app / "model" / BUNDLE)
    # MONAI Label reports the networks of a bundle apart by the time of their files, and an unpacked zip has one for all
    for number, weights in enumerate(sorted((app / "model" / BUNDLE / "models").glob("*.pt"))):
        os.utime(weights, (number, number))
    if not stock:
        (app / "main.py").rename(app / "stock.py")
        shutil.copy(Path(__file__).with_name("main.py"), app / "main.py")
    return app


def serve(
    studies: str,
    release: str = f"dist/{BUNDLE}",
    app: str = "runs/label/app",
    port: int = 8000,
    stock: bool = False,
    cache: str = "runs/label/dicomweb",
    accept_renderings: bool = False,
) -> None:
    """Serve a folder of images, or a DICOMweb server, on 127.0.0.1.

    Args:
        studies: folder of .dcm or .png files, or the URL of a DICOMweb server.
        release: the packed bundle.
        app: folder for the app; it is made anew.
        port: of the server.
        stock: the stock app alone.
        cache: folder for images of a DICOMweb server.
        accept_renderings: also PNG files; of a rendering nobody knows sign and window, so the bundle rejects them
            unless it is reported, here in the app's copy of its config.
    """
    folder = build_app(release, app, stock)
    configs = folder / "model" / BUNDLE / "configs"
    _set_option(configs / "train.json", "replace", True)  # a training begun from Label takes the place of its last one
    if accept_renderings:
        _set_option(configs / "inference.json", "accept_renderings", True)
    if not studies.startswith(("http://", "https://")):
        if not Path(studies).is_dir():
            raise SystemExit(f"error: expected a folder of images or a DICOMweb URL, found no folder {studies}")
        studies = str(Path(studies).resolve())
    start_server(port, list_settings(folder.resolve(), studies, port, Path(cache).resolve()), accept_renderings)


def start_server(port: int, settings: dict[str, str], accept_renderings: bool = False) -> None:
    """MONAI Label's web application on loopback, with our page at /review/; it answers pages of its own origin only.

    Its own command, `monailabel start_server`, and the processes that it starts for trainings end with an error where
    origins are set, and without them any page in the browser may ask the server. So they are set while the application
    is read, and for nobody else.
    """
    origins = [f"http://127.0.0.1:{port}", f"http://localhost:{port}"]
    os.environ.update({**settings, ORIGINS: json.dumps(origins)})
    sys.path.insert(0, settings["MONAI_LABEL_APP_DIR"])
    import uvicorn
    from monailabel.app import app

    from apps.label.review import add_review

    del os.environ[ORIGINS]
    add_review(app, accept_renderings)
    uvicorn.run(app, host="127.0.0.1", port=port)


def list_settings(app: Path, studies: str, port: int, cache: Path) -> dict[str, str]:
    """The environment of the server and of the processes that it starts."""
    models = {"models": BUNDLE, "zoo_source": "local", "skip_trainers": "false", "sam2": "false"}
    # programs of this environment (dcmqi writes the SEG objects) are looked for on PATH
    path = (str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    return {
        **SETTINGS,
        "MONAI_LABEL_APP_DIR": str(app),
        "MONAI_LABEL_STUDIES": studies,
        "MONAI_LABEL_APP_CONF": json.dumps(models),
        "MONAI_LABEL_SERVER_PORT": str(port),
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(cache),
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join((os.environ.get("PYTHONPATH", ""), str(app))),
    }


def _set_option(config_file: Path, name: str, value: bool) -> None:
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config[name] = value
    config_file.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")


if __name__ == "__main__":
    fire.Fire(serve, name="python -m apps.label.serve")
