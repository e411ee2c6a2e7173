"""Review page beside MONAI Label's own: an image with its predictions drawn on it, and a brush to correct the mask.

MONAI Label's viewer (OHIF) hangs images as volumes, and a single CR or DX stays black in it. This page is served by the
same server at /review/, so that no other origin has to be let in.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from monailabel.interfaces.utils.app import app_instance
from PIL import Image
from scripts.errors import RejectedImage
from scripts.radiographs import read_isolated
from scripts.transforms import find_image

PAGE = Path(__file__).with_name("page")


def add_review(app: FastAPI, accept_renderings: bool = False) -> None:
    """Add the page, the list of images, and their pictures to MONAI Label's web application."""

    @app.get("/review/images")
    def list_images() -> list[dict[str, Any]]:
        """Every image of the store: its id, and whether a label was submitted for it."""
        store = app_instance().datastore()
        labelled = set(store.get_labeled_images())
        return [{"image": image, "labelled": image in labelled} for image in sorted(store.list_images())]

    @app.get("/review/images/{image}")
    def show_image(image: str) -> Response:
        """The image as our reader shows it, an 8-bit PNG of its own size; 422 with the reason where it is rejected."""
        store = app_instance().datastore()
        if image not in store.list_images():
            raise HTTPException(404, f"expected an image of the store, found none called {image}")
        try:
            radiograph = read_isolated(find_image(store.get_image_uri(image)), accept_renderings=accept_renderings)
        except RejectedImage as error:
            raise HTTPException(422, f"rejected: {error.reason}, {error.detail}") from None
        return Response(encode_png(radiograph.pixels[0]), media_type="image/png")

    app.mount("/review", StaticFiles(directory=PAGE, html=True), name="review")


def encode_png(pixels: np.ndarray) -> bytes:
    """An image `(H, W)` in [0, 1] as the bytes of a PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
