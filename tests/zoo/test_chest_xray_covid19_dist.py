"""As test_chest_xray_covid19.py, started by torchrun: a process for each GPU, or two on a CPU."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import torch
from parameterized import parameterized

BUNDLE = os.path.join("models", "chest_xray_covid19")

TINY = {
    "bundle_root": BUNDLE,
    "precision": "float32",
    "encoder": "test_efficientnet",
    "encoder_options": "{}",
    "image_size": 64,
    "batch_size": 4,
}
WORKFLOWS = [
    ("training", ["train.json", "multi_gpu_train.json"], {"epochs": 1, "val_interval": 1}, "history.json"),
    (
        "evaluating",
        ["train.json", "evaluate.json", "multi_gpu_evaluate.json"],
        {"weights": os.path.join("{folder}", "training_train", "last.pt")},
        "submission.csv",
    ),
    ("training", ["train_detector.json", "multi_gpu_train.json"], {"epochs": 1, "val_interval": 1}, "record.json"),
]


class TestChestXrayCovid19Dist(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        cls.images, prepared = os.path.abspath(os.path.join(BUNDLE, "samples")), os.path.join(cls.folder, "prepared")
        cls.run_scripts("prepare", "--tree", cls.images, "--out", prepared, "--num_folds", "3")
        cls.datalist = os.path.join(prepared, "datalist.json")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @staticmethod
    def run_scripts(*arguments):
        subprocess.run([sys.executable, "-m", "scripts", *arguments], cwd=BUNDLE, check=True)

    @parameterized.expand(WORKFLOWS)  # in this order: the second takes the weights of the first
    def test_workflow(self, name, files, changes, expected):
        # a folder of its own for each: a training rejects another one's results
        output_dir = os.path.join(self.folder, f"{name}_{os.path.splitext(files[0])[0]}")
        places = {"dataset_dir": self.images, "datalist_file": self.datalist, "output_dir": output_dir}
        options = {**TINY, **places, **{key: str(value).format(folder=self.folder) for key, value in changes.items()}}
        processes = max(2, torch.cuda.device_count()) if torch.cuda.device_count() != 1 else 1
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        command += ["-m", "monai.bundle", "run", name, "--config_file"]
        command.append(str([os.path.join(BUNDLE, "configs", file) for file in files]))
        command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
        subprocess.run(command, check=True)
        self.assertTrue(os.path.isfile(os.path.join(output_dir, expected)))


if __name__ == "__main__":
    unittest.main()
