"""The entry point that lists this pack's nodes for ComfyUI."""

from comfy_api.latest import ComfyExtension

from .assess import DescribeImages, IdentifyDistortions, ScoreImages
from .check_images import CheckImages
from .collect_preferences import CollectPreferences
from .compare_images import CompareImages
from .compare_models import CompareModels
from .filter_images import FilterImages
from .load_folder import LoadFolder
from .load_model import LoadModel
from .quality_map import QualityMap
from .quality_sheet import QualitySheet
from .rank_images import RankImages
from .save_images import SaveScoredImages

NODES = [
    LoadModel,
    LoadFolder,
    IdentifyDistortions,
    DescribeImages,
    CompareImages,
    ScoreImages,
    RankImages,
    FilterImages,
    CompareModels,
    SaveScoredImages,
    QualitySheet,
    QualityMap,
    CollectPreferences,
    CheckImages,
]


class DepictQAExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES
