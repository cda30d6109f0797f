"""Mathematics only, one file per family.

`MODELS` is the whole registry: a checkpoint's `model_type` to the class that computes it. Each class has `Config`
(a frozen dataclass of the checkpoint's own field names), `RENAMES`, `kind` and `tiny()`.
"""

from __future__ import annotations

MODELS: dict[str, str] = {
    "wav2vec2": "auricle.models.wav2vec2:Wav2Vec2CTC",
    "hubert": "auricle.models.hubert:HubertCTC",
    "wavlm": "auricle.models.wavlm:WavLMCTC",
    "parakeet_ctc": "auricle.models.parakeet:ParakeetCTC",
    "whisper": "auricle.models.whisper:Whisper",
    "whisper_ctc": "auricle.models.whisper_ctc:WhisperCTC",
    "wav2vec2_classifier": "auricle.models.speech_classifiers:Wav2Vec2Classifier",
    "hubert_classifier": "auricle.models.speech_classifiers:HubertClassifier",
    "wavlm_classifier": "auricle.models.speech_classifiers:WavLMClassifier",
    "whisper_classifier": "auricle.models.whisper_classifier:WhisperClassifier",
    "moonshine": "auricle.models.moonshine:Moonshine",
    "llama": "auricle.models.llama:Llama",
    "qwen2": "auricle.models.llama:Qwen2",
    "qwen3": "auricle.models.llama:Qwen3",
    "mistral": "auricle.models.llama:Mistral",
    "smollm3": "auricle.models.llama:SmolLM3",
    "gemma2": "auricle.models.gemma:Gemma2",
    "gemma3_text": "auricle.models.gemma:Gemma3",
    "gpt2": "auricle.models.gpt2:GPT2",
    "vit": "auricle.models.vit:ViT",
    "deit": "auricle.models.deit:DeiT",
    "dinov2": "auricle.models.dinov2:Dinov2",
    "convnext": "auricle.models.convnext:ConvNext",
    "resnet": "auricle.models.resnet:ResNet",
    "vilt": "auricle.models.vilt:Vilt",
    "blip": "auricle.models.blip:Blip",
}
# Networks that do no task alone: a pipeline's configuration names them (see auricle.checkpoints.diarization).
PARTS: dict[str, str] = {
    "pyannet": "auricle.models.pyannet:PyanNet",
    "wespeaker_resnet": "auricle.models.wespeaker:WeSpeakerResNet",
}
