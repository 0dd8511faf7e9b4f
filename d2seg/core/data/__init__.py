"""Data sets: what is known about them, how they are read, changed and put into batches."""

from d2seg.core.data import datasets, samplers, transforms
from d2seg.core.data.build import (
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    load_proposals_into_dataset,
    print_instances_class_histogram,
)
from d2seg.core.data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2seg.core.data.common import DatasetFromList, MapDataset, ToIterableDataset
from d2seg.core.data.dataset_mapper import DatasetMapper

__all__ = [
    "DatasetCatalog",
    "DatasetFromList",
    "DatasetMapper",
    "MapDataset",
    "Metadata",
    "MetadataCatalog",
    "ToIterableDataset",
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "datasets",
    "get_detection_dataset_dicts",
    "load_proposals_into_dataset",
    "print_instances_class_histogram",
    "samplers",
    "transforms",
]
