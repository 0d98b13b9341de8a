"""Data sets: a folder or lists of videos become batches."""

from videonl import doors

__getattr__, __dir__, __all__ = doors(
    __name__,
    {
        "augmentation": "Augmentation augment",
        "catalogue": "Catalogue evaluation_set read_catalogue",
        "census": "census_of census_text census_values read_skip_list write_skip_list",
        "datamodule": "VideoDataModule",
        "dataset": "VideoDataset collate",
        "copies": "near_copies",
        "facts": "class_lines cover_line found_facts look_at picture_line",
        "lists": "read_list",
        "rand_augment": "OPERATIONS draw_operations",
        "records": "Record",
        "samplers": "BalancedSampler EvaluationSampler TrainingSampler",
        "shortcut": "Shortcut shortcut_of",
        "splits": "groups_in_both make_folds write_lists",
        "walk": "FolderIndex",
    },
)
