"""Unit tests as the MONAI model zoo runs them: from its root, over the bundle in models/, without real data."""

import importlib
import os
import shutil
import sys
import tempfile
import unittest

from monai.bundle import ConfigWorkflow
from parameterized import parameterized

BUNDLE = os.path.join("models", "chest_xray_covid19")
CONFIGS = os.path.join(BUNDLE, "configs")

TINY = {
    "bundle_root": BUNDLE,
    "device": "$torch.device('cpu')",
    "precision": "float32",
    "num_workers": 0,
    "encoder": "test_efficientnet",
    "encoder_options": {},
    "image_size": 64,
    "batch_size": 8,
}

TRAININGS = [
    ("study classifier", ["train.json"], {}),
    ("study classifier without a mask", ["train.json"], {"mask_widths": None}),
    ("opacity detector", ["train_detector.json"], {}),
    ("lung detector", ["lungs.json"], {}),
]
INFERENCES = [
    ("shipped weights", {"num_workers": 0, "device": "$torch.device('cpu')", "precision": "float32"}),
    (
        "one view",
        {"num_workers": 0, "device": "$torch.device('cpu')", "precision": "float32", "tta_flips": ["identity"]},
    ),
]


def list_configs(names):
    return [os.path.join(CONFIGS, name) for name in names]


class TestChestXrayCovid19(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, BUNDLE)
        cls.folder = tempfile.mkdtemp()
        cls.images = os.path.join(BUNDLE, "samples")
        prepared = os.path.join(cls.folder, "prepared")
        importlib.import_module("scripts.preparation").prepare(cls.images, prepared, num_folds=3, workers=1)
        cls.datalist = os.path.join(prepared, "datalist.json")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        sys.path.remove(BUNDLE)

    def setUp(self):
        hook = sys.excepthook  # the bundle reports bad input in one line
        self.addCleanup(setattr, sys, "excepthook", hook)

    def check_workflow(self, workflow):
        workflow.initialize()
        self.assertEqual(workflow.check_properties(), [])
        workflow.run()
        workflow.finalize()

    @parameterized.expand(TRAININGS)
    def test_training(self, name, files, changes):
        output_dir = os.path.join(self.folder, "training", name)
        places = {"dataset_dir": self.images, "datalist_file": self.datalist, "output_dir": output_dir}
        changes = {**TINY, "epochs": 1, "val_interval": 1, **places, **changes}
        self.check_workflow(ConfigWorkflow(list_configs(files), workflow_type="train", logging_file=False, **changes))
        self.assertTrue(os.path.isfile(os.path.join(output_dir, "last.pt")))

    @parameterized.expand(INFERENCES)
    def test_inference(self, name, changes):
        output_dir = os.path.join(self.folder, "inference", name)
        places = {"bundle_root": BUNDLE, "dataset_dir": os.path.join(self.images, "test"), "output_dir": output_dir}
        self.check_workflow(
            ConfigWorkflow(
                list_configs(["inference.json"]), workflow_type="infer", logging_file=False, **places, **changes
            )
        )
        self.assertTrue(os.path.isfile(os.path.join(output_dir, "submission.csv")))


if __name__ == "__main__":
    unittest.main()
