"""The list of this pack's nodes, as ComfyUI asks for it."""

from comfy_api.latest import ComfyExtension

from .assess import DescribeImages, ScoreImages
from .compare import CompareImages
from .load import LoadModel
from .rank import RankImages

NODES = [LoadModel, DescribeImages, CompareImages, ScoreImages, RankImages]


class DepictQAExtension(ComfyExtension):
    async def get_node_list(self):
        return NODES
