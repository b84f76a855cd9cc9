"""The entry point that lists this pack's nodes for ComfyUI."""

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io
from server import PromptServer

from .assess import DescribeImages, IdentifyDistortions, ScoreImages
from .best_of_folder import BestOfFolder
from .check_images import CheckImages
from .classical_metrics import ClassicalMetrics
from .collect_preferences import CollectPreferences
from .compare_images import CompareImages
from .compare_models import CompareModels
from .filter_images import FilterImages
from .generate_until_good import GenerateUntilGoodEnd, GenerateUntilGoodStart
from .judge_video import JudgeVideo
from .keep_best import KeepBest
from .load_folder import LoadFolder
from .load_model import LoadModel
from .load_server import LoadServer
from .pick_images import PickImages
from .quality_map import QualityMap
from .quality_sheet import QualitySheet
from .rank_images import RankImages
from .routes import add_routes
from .save_images import SaveScoredImages
from .stop_auto_queue import StopAutoQueue

NODES = [
    LoadModel,
    LoadFolder,
    IdentifyDistortions,
    DescribeImages,
    CompareImages,
    ScoreImages,
    RankImages,
    FilterImages,
    PickImages,
    GenerateUntilGoodStart,
    GenerateUntilGoodEnd,
    KeepBest,
    StopAutoQueue,
    BestOfFolder,
    CompareModels,
    SaveScoredImages,
    QualitySheet,
    QualityMap,
    JudgeVideo,
    CollectPreferences,
    CheckImages,
    LoadServer,
    ClassicalMetrics,
]
if Path(folder_paths.__file__).with_name("comfy_extras").joinpath("nodes_textgen.py").is_file():
    # a ComfyUI whose text encoders write text: 0.26 or newer
    from .judge_from_clip import JudgeFromTextEncoder

    NODES.append(JudgeFromTextEncoder)

if getattr(PromptServer, "instance", None):  # there is none where the nodes are only listed
    add_routes(PromptServer.instance.routes)


class DepictQAExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
