from d2seg.assets import DEMO_CONFIG_FILE
from d2seg.class_names import class_names
from d2seg.config import load_config
from d2seg.framework import MetadataCatalog


def test_names_come_from_the_data_set_then_the_weights_then_numbers() -> None:
    cfg = load_config(DEMO_CONFIG_FILE)
    assert class_names(cfg) == ["nucleus"]

    name = "class_names_test"
    MetadataCatalog.get(name).thing_classes = ["cell"]
    try:
        cfg.DATASETS.TEST = ("not_registered", name)
        assert class_names(cfg) == ["cell"]
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
        assert class_names(cfg) == ["class 0", "class 1"]
    finally:
        MetadataCatalog.remove(name)


def test_looking_for_names_registers_nothing() -> None:
    cfg = load_config(DEMO_CONFIG_FILE)
    before = set(MetadataCatalog.list())
    class_names(cfg)
    assert set(MetadataCatalog.list()) == before
