"""Models by name: `resolve("yolov8n-pose")` is a file, fetched on first use."""

from tensortap.cache import cache_folder
from tensortap.zoo.cache import models_folder
from tensortap.zoo.find import resolve, state_of
from tensortap.zoo.table import ZOO, ZooModel

__all__ = ["ZOO", "ZooModel", "cache_folder", "models_folder", "resolve", "state_of"]
