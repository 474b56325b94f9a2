"""Make `zoo/index/other_tasks.json` again: models of other tasks than zoo's, which it answers by name.

    python tools/build_other_tasks.py

The names are those of the installed torchvision and the types those of the installed transformers.
"""

import json
from pathlib import Path

from torchvision import models
from transformers.models.auto import modeling_auto

TARGET = Path(__file__).parents[1] / "zoo" / "index" / "other_tasks.json"

# Parts of torchvision, and what their models are, in words that follow 'is'.
TORCHVISION = {
    "detection": "a detection model",
    "segmentation": "a segmentation model",
    "video": "a video model",
    "optical_flow": "an optical-flow model",
}
# Tasks of transformers; a type of several is named by the first.
HF = {
    "OBJECT_DETECTION": "a detection model",
    "ZERO_SHOT_OBJECT_DETECTION": "a detection model",
    "INSTANCE_SEGMENTATION": "a segmentation model",
    "UNIVERSAL_SEGMENTATION": "a segmentation model",
    "SEMANTIC_SEGMENTATION": "a segmentation model",
    "IMAGE_SEGMENTATION": "a segmentation model",
    "MASK_GENERATION": "a segmentation model",
    "VIDEO_CLASSIFICATION": "a video model",
    "DEPTH_ESTIMATION": "a depth model",
    "POSE_ESTIMATION": "a pose model",
    "KEYPOINT_DETECTION": "a keypoint model",
    "KEYPOINT_MATCHING": "a keypoint model",
    "IMAGE_MATTING": "a matting model",
    "IMAGE_TO_IMAGE": "a model that gives pictures",
    "TEXT_RECOGNITION": "a model that reads text",
    "DOCUMENT_QUESTION_ANSWERING": "a model of documents",
    "VISUAL_QUESTION_ANSWERING": "a model that answers questions",
    "IMAGE_TEXT_TO_TEXT": "a model of pictures and text",
    "AUDIO_CLASSIFICATION": "an audio model",
    "CTC": "an audio model",
    "SPEECH_SEQ_2_SEQ": "an audio model",
    "TEXT_TO_WAVEFORM": "an audio model",
    "TEXT_TO_SPECTROGRAM": "an audio model",
    "TIME_SERIES_PREDICTION": "a model of time series",
    "TIME_SERIES_CLASSIFICATION": "a model of time series",
    "MASKED_LM": "a text model",
    "CAUSAL_LM": "a text model",
    "SEQ_TO_SEQ_CAUSAL_LM": "a text model",
    "SEQUENCE_CLASSIFICATION": "a text model",
    "TEXT_ENCODING": "a text model",
}


def of_torchvision() -> dict[str, str]:
    """Each model of torchvision that is no classifier of pictures, and what it is."""
    found = {}
    for name in models.list_models():
        part = models.get_model_builder(name).__module__.removeprefix("torchvision.models.").partition(".")[0]
        if part in TORCHVISION:
            found[name] = TORCHVISION[part]
    return found


def of_transformers() -> dict[str, str]:
    """Each type of transformers without a classifier of pictures, and what it is."""
    classifiers = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    found: dict[str, str] = {}
    for task, words in HF.items():
        for kind in getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES"):
            if kind not in classifiers:
                found.setdefault(kind, words)
    return found


def main() -> None:
    """Write the table, one source a line group, in the order of names."""
    table = {"torchvision": dict(sorted(of_torchvision().items())), "hf": dict(sorted(of_transformers().items()))}
    TARGET.write_text(json.dumps(table, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{TARGET}: {', '.join(f'{len(each)} of {source}' for source, each in table.items())}")


if __name__ == "__main__":
    main()
