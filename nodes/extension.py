"""The list of this pack's nodes, as ComfyUI asks for it."""

from comfy_api.latest import ComfyExtension

from .assess import DescribeImages, IdentifyDistortions, ScoreImages
from .compare import CompareImages
from .folder import LoadFolder
from .load import LoadModel
from .map import QualityMap
from .models import CompareModels
from .preferences import CollectPreferences
from .rank import RankImages
from .save import SaveScoredImages
from .select import FilterImages
from .sheet import QualitySheet

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
]


class DepictQAExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES
