"""Tiny random checkpoints of architectures that transformers runs, each with what stands before and behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

WORDS = (
    "the quick brown fox jumps over lazy dog and there is more to tell paris capital of france what in image".split()
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<image>", "<s>", "</s>"]
TEXT = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
CAUSAL = {**TEXT, "num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 6, "eos_token_id": 7}
WRITER = {
    "vocab_size": 40,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "pad_token_id": 0,
    "bos_token_id": 6,
    "eos_token_id": 7,
    "decoder_start_token_id": 7,
}
SIGHT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
TINY_SIGHT = {**SIGHT, "image_size": 32, "patch_size": 16}
SMALL = {"height": 32, "width": 32}
CHAT = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %} {% endfor %}"
)


def tokenizer(images: str = "<image>", **settings: Any) -> Any:
    """Words as tokens, 40 of them at most; `images` stands for a picture or a sound."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    vocabulary[images] = vocabulary.pop("<image>")
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    own = {
        "additional_special_tokens": [images],
        "mask_token": "[MASK]",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 48,
    }
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **{**names, **own, **settings})


def save(folder: Path, model: Any, *parts: Any, std: float = 0.2) -> Path:
    """Write a model whose weights are drawn, and the parts beside it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=std)
    model.eval().save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)
    return folder


def t(name: str) -> Any:
    """Return a class of transformers."""
    return getattr(transformers, name)


def masked_words(folder: Path) -> Path:
    """ModernBERT."""
    config = t("ModernBertConfig")(
        **{**TEXT, "global_attn_every_n_layers": 1}, bos_token_id=6, eos_token_id=7, cls_token_id=2, sep_token_id=3
    )
    return save(folder, t("ModernBertForMaskedLM")(config), tokenizer())


def names(folder: Path) -> Path:
    """Gemma 2 that marks names."""
    config = t("Gemma2Config")(**CAUSAL, id2label={0: "O", 1: "PER", 2: "LOC"})
    return save(folder, t("Gemma2ForTokenClassification")(config), tokenizer())


def answers(folder: Path) -> Path:
    """Mixtral that marks answers."""
    config = t("MixtralConfig")(**CAUSAL, num_local_experts=2, num_experts_per_tok=1)
    return save(folder, t("MixtralForQuestionAnswering")(config), tokenizer())


def summaries(folder: Path) -> Path:
    """BART."""
    config = t("BartConfig")(**WRITER, max_position_embeddings=64, forced_eos_token_id=7)
    return save(folder, t("BartForConditionalGeneration")(config), tokenizer())


def translations(folder: Path) -> Path:
    """T5."""
    config = t("T5Config")(
        vocab_size=40,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=7,
        decoder_start_token_id=0,
    )
    return save(folder, t("T5ForConditionalGeneration")(config), tokenizer())


def classes(folder: Path) -> Path:
    """Qwen2 that classifies texts."""
    config = t("Qwen2Config")(
        **{k: v for k, v in CAUSAL.items() if k != "head_dim"}, id2label={0: "good", 1: "bad", 2: "neither"}
    )
    return save(folder, t("Qwen2ForSequenceClassification")(config), tokenizer())


def masks(folder: Path) -> Path:
    """SAM."""
    vision = t("SamVisionConfig")(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        output_channels=8,
        mlp_dim=24,
        window_size=2,
        global_attn_indexes=[0],
        num_pos_feats=4,
    )
    prompt = t("SamPromptEncoderConfig")(hidden_size=8, image_size=64, patch_size=16, mask_input_channels=4)
    mask = t("SamMaskDecoderConfig")(
        hidden_size=8, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8
    )
    config = t("SamConfig")(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=mask.to_dict()
    )
    processor = t("SamImageProcessorPil")(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )
    return save(folder, t("SamModel")(config), processor)


def keypoints(folder: Path) -> Path:
    """SuperPoint."""
    config = t("SuperPointConfig")(
        encoder_hidden_sizes=[8, 8, 8, 8],
        decoder_hidden_size=8,
        keypoint_decoder_dim=65,
        descriptor_decoder_dim=8,
        max_keypoints=20,
        keypoint_threshold=0.0,
    )
    processor = t("SuperPointImageProcessorPil")(size={"height": 64, "width": 64})
    return save(folder, t("SuperPointForKeypointDetection")(config), processor)


def matches(folder: Path) -> Path:
    """SuperGlue."""
    detector = t("SuperPointConfig")(
        encoder_hidden_sizes=[8, 8, 8, 8],
        decoder_hidden_size=8,
        keypoint_decoder_dim=65,
        descriptor_decoder_dim=8,
        max_keypoints=20,
        keypoint_threshold=0.0,
    )
    config = t("SuperGlueConfig")(
        keypoint_detector_config=detector,
        hidden_size=8,
        keypoint_encoder_sizes=[8],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2,
        matching_threshold=0.0,
    )
    processor = t("SuperGlueImageProcessorPil")(size={"height": 64, "width": 64})
    return save(folder, t("SuperGlueForKeypointMatching")(config), processor)


def objects(folder: Path) -> Path:
    """RT-DETR v2."""
    backbone = {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage2", "stage3", "stage4"],
        "layer_type": "basic",
    }
    config = t("RTDetrV2Config")(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 16, 16],
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        num_queries=10,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        decoder_n_points=2,
        num_denoising=0,
        id2label={0: "cat", 1: "dog"},
    )
    processor = t("RTDetrImageProcessorPil")(size={"height": 64, "width": 64})
    return save(folder, t("RTDetrV2ForObjectDetection")(config), processor)


def depths(folder: Path) -> Path:
    """DepthPro."""
    part = {"model_type": "dinov2", **SIGHT, "image_size": 32, "patch_size": 8, "mlp_ratio": 2}
    config = t("DepthProConfig")(
        patch_size=32,
        scaled_images_ratios=[0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.2],
        scaled_images_feature_dims=[8, 8],
        intermediate_hook_ids=[0],
        intermediate_feature_dims=[8],
        fusion_hidden_size=8,
        image_model_config=part,
        patch_model_config=part,
        fov_model_config=part,
        use_fov_model=True,
    )
    processor = t("DepthProImageProcessor")(size={"height": 64, "width": 64})
    return save(folder, t("DepthProForDepthEstimation")(config), processor)


def segments(folder: Path) -> Path:
    """A SegFormer, which segments as OneFormer does, by one image processor."""
    config = t("SegformerConfig")(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 8],
        patch_sizes=[3, 3],
        strides=[4, 2],
        num_attention_heads=[1, 1],
        mlp_ratios=[2, 2],
        decoder_hidden_size=8,
        id2label={0: "sky", 1: "sea"},
    )
    return save(folder, t("SegformerForSemanticSegmentation")(config), t("SegformerImageProcessorPil")(size=SMALL))


def videos(folder: Path) -> Path:
    """VideoMAE."""
    config = t("VideoMAEConfig")(**TINY_SIGHT, num_frames=2, tubelet_size=2, id2label={0: "run", 1: "sit"})
    processor = t("VideoMAEImageProcessorPil")(size={"shortest_edge": 32}, crop_size=SMALL)
    return save(folder, t("VideoMAEForVideoClassification")(config), processor)


def documents(folder: Path) -> Path:
    """LayoutLMv3 that marks answers in documents."""
    config = t("LayoutLMv3Config")(
        **{**TEXT, "pad_token_id": 1},
        input_size=32,
        patch_size=16,
        coordinate_size=3,
        shape_size=2,
        has_relative_attention_bias=False,
        has_spatial_attention_bias=False,
    )
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = {
        token: place for place, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *letters])
    }
    words = t("LayoutLMv3Tokenizer")(vocab=vocabulary, merges=[], model_max_length=48)
    sight = t("LayoutLMv3ImageProcessorPil")(apply_ocr=False, size=SMALL)
    return save(folder, t("LayoutLMv3ForQuestionAnswering")(config), sight, words)


def tables(folder: Path) -> Path:
    """TAPAS."""
    config = t("TapasConfig")(**{**TEXT, "num_hidden_layers": 1}, type_vocab_sizes=[3, 8, 8, 2, 8, 8, 4])
    folder = save(folder, t("TapasForQuestionAnswering")(config))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EMPTY]", *WORDS]))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "TapasTokenizer"}')
    return folder


def llava(folder: Path) -> Path:
    """Llava."""
    config = t("LlavaConfig")(
        vision_config=t("CLIPVisionConfig")(**TINY_SIGHT),
        text_config=t("LlamaConfig")(**CAUSAL),
        image_token_index=5,
        vision_feature_layer=-1,
    )
    processor = t("LlavaProcessor")(
        image_processor=t("CLIPImageProcessorPil")(size={"shortest_edge": 32}, crop_size=SMALL),
        tokenizer=tokenizer(extra_special_tokens={"image_token": "<image>"}),
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return save(folder, t("LlavaForConditionalGeneration")(config), processor)


def emu(folder: Path) -> Path:
    """Emu3, whose pictures are tokens, too."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    signs = ["[PAD]", "[UNK]", "<s>", "</s>", "<image>", "<begin>", "<end>", "<wrap>", "<last>", "<|extra_200|>"]
    seen = [f"<|visual token {number:06d}|>" for number in range(16)]
    vocabulary = {name: number for number, name in enumerate([*signs, *seen, *"0123456789*", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([AddedToken(name, special=True) for name in [*signs, *seen]])
    roles = ("image_token", "boi_token", "eoi_token", "image_wrapper_token", "eof_token")
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="[PAD]",
        extra_special_tokens=dict(zip(roles, signs[4:9], strict=True)),
    )
    ends = {"bos_token_id": 2, "eos_token_id": 3}
    text = t("Emu3TextConfig")(**{**CAUSAL, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 256})
    pictures = t("Emu3VQVAEConfig")(
        codebook_size=16,
        base_channels=32,
        channel_multiplier=[1, 1, 1, 1],
        num_res_blocks=1,
        attn_resolutions=[],
        hidden_size=32,
    )
    config = t("Emu3Config")(
        vq_config=pictures.to_dict(),
        text_config=text.to_dict(),
        vocabulary_map={name: vocabulary[name] for name in ("<image>", "<|extra_200|>", *seen)},
    )
    processor = t("Emu3Processor")(
        image_processor=t("Emu3ImageProcessor")(min_pixels=32 * 32, max_pixels=64 * 64),
        tokenizer=words,
        chat_template=CHAT,
    )
    return save(folder, t("Emu3ForConditionalGeneration")(config), processor)


def music(folder: Path) -> Path:
    """MusicGen."""
    text = t("T5Config")(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, pad_token_id=0)
    sound = t("EncodecConfig")(
        hidden_size=8,
        num_filters=4,
        codebook_size=16,
        codebook_dim=8,
        upsampling_ratios=[4, 4],
        num_lstm_layers=1,
        target_bandwidths=[24.0],
        sampling_rate=4000,
        num_residual_layers=1,
    )
    decoder = t("MusicgenDecoderConfig")(
        vocab_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=24,
        num_codebooks=2,
        pad_token_id=16,
        bos_token_id=16,
    )
    config = t("MusicgenConfig")(text_encoder=text.to_dict(), audio_encoder=sound.to_dict(), decoder=decoder.to_dict())
    model = t("MusicgenForConditionalGeneration")(config)
    model.generation_config.update(
        do_sample=False, max_length=20, decoder_start_token_id=16, pad_token_id=16, bos_token_id=16, guidance_scale=None
    )
    return save(folder, model, tokenizer())


def speech(folder: Path) -> Path:
    """VITS, which speaks what it reads."""
    config = t("VitsConfig")(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        wavenet_dilation_rate=1,
        posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        duration_predictor_filter_channels=8,
        depth_separable_num_layers=1,
    )
    return save(folder, t("VitsModel")(config), tokenizer())


def heard_words(folder: Path) -> Path:
    """Speech2Text, which writes down what it hears."""
    config = t("Speech2TextConfig")(
        **WRITER,
        max_source_positions=6000,
        max_target_positions=64,
        input_feat_per_channel=8,
        input_channels=1,
        conv_channels=16,
    )
    model = t("Speech2TextForConditionalGeneration")(config)
    model.generation_config.max_new_tokens = 8
    return save(folder, model, t("Speech2TextFeatureExtractor")(feature_size=8, num_mel_bins=8), tokenizer())


def alike(folder: Path) -> Path:
    """CLIP."""
    text = TEXT | {"eos_token_id": 7, "bos_token_id": 6, "projection_dim": 8}
    config = t("CLIPConfig")(text_config=text, vision_config={**TINY_SIGHT, "projection_dim": 8}, projection_dim=8)
    processor = t("CLIPImageProcessorPil")(size={"shortest_edge": 32}, crop_size=SMALL)
    return save(folder, t("CLIPModel")(config), processor, tokenizer())


def entailment(folder: Path) -> Path:
    """BERT that says whether one text follows from another."""
    config = t("BertConfig")(
        **TEXT,
        id2label={0: "entailment", 1: "neutral", 2: "contradiction"},
        label2id={"entailment": 0, "neutral": 1, "contradiction": 2},
    )
    return save(folder, t("BertForSequenceClassification")(config), tokenizer())


def vectors(folder: Path) -> Path:
    """BERT without a head."""
    return save(folder, t("BertModel")(t("BertConfig")(**TEXT)), tokenizer())


def other_writer(folder: Path) -> Path:
    """GPT-NeoX, a writer of a family that is not native."""
    config = t("GPTNeoXConfig")(**{**TEXT, "max_position_embeddings": 64}, bos_token_id=6, eos_token_id=7)
    return save(folder, t("GPTNeoXForCausalLM")(config), tokenizer())


def sounds(folder: Path) -> Path:
    """Audio Spectrogram Transformer."""
    config = t("ASTConfig")(
        **SIGHT,
        patch_size=16,
        frequency_stride=16,
        time_stride=16,
        max_length=64,
        num_mel_bins=32,
        id2label={0: "dog", 1: "rain"},
    )
    return save(
        folder, t("ASTForAudioClassification")(config), t("ASTFeatureExtractor")(max_length=64, num_mel_bins=32)
    )


def bark(folder: Path) -> Path:
    """Bark, which speaks by three writers of codes."""
    part = {"block_size": 1024, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    semantic = t("BarkSemanticConfig")(**part, input_vocab_size=129_600, output_vocab_size=10_048)
    coarse = t("BarkCoarseConfig")(**part, input_vocab_size=12_096, output_vocab_size=12_096)
    fine = t("BarkFineConfig")(**part, input_vocab_size=1056, output_vocab_size=1056)
    codec = t("EncodecConfig")(
        hidden_size=8,
        num_filters=4,
        codebook_size=1024,
        codebook_dim=8,
        upsampling_ratios=[4, 4],
        num_lstm_layers=1,
        target_bandwidths=[24.0],
        sampling_rate=4000,
        num_residual_layers=1,
    )
    config = t("BarkConfig")(
        semantic_config=semantic.to_dict(),
        coarse_acoustics_config=coarse.to_dict(),
        fine_acoustics_config=fine.to_dict(),
        codec_config=codec.to_dict(),
    )
    folder = save(folder, t("BarkModel")(config), t("BarkProcessor")(tokenizer()))
    # As suno/bark has it, but for lengths and sampling.
    told = {
        "semantic_config": {"eos_token_id": 10_000, "max_new_tokens": 4, "do_sample": False},
        "coarse_acoustics_config": {"do_sample": False},
        "fine_acoustics_config": {},
        "sample_rate": 4000,
        "codebook_size": 1024,
    }
    (folder / "generation_config.json").write_text(json.dumps(told))
    return folder


def images_of_words(folder: Path) -> Path:
    """BLIP-2."""
    former = t("Blip2QFormerConfig")(**SIGHT, vocab_size=40, encoder_hidden_size=16, cross_attention_frequency=1)
    text = t("OPTConfig")(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=24,
        word_embed_proj_dim=16,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=6,
        eos_token_id=7,
    )
    config = t("Blip2Config")(
        vision_config=t("Blip2VisionConfig")(**TINY_SIGHT),
        qformer_config=former,
        text_config=text,
        num_query_tokens=2,
        image_token_index=5,
    )
    processor = t("Blip2Processor")(t("BlipImageProcessorPil")(size=SMALL), tokenizer(), num_query_tokens=2)
    return save(folder, t("Blip2ForConditionalGeneration")(config), processor)


def kosmos(folder: Path) -> Path:
    """Kosmos-2."""
    config = t("Kosmos2Config")(
        text_config={
            "vocab_size": 1100,
            "embed_dim": 16,
            "layers": 1,
            "attention_heads": 2,
            "ffn_dim": 24,
            "max_position_embeddings": 128,
            "pad_token_id": 0,
            "bos_token_id": 6,
            "eos_token_id": 7,
        },
        vision_config=TINY_SIGHT,
        latent_query_num=64,
    )
    words = tokenizer(model_max_length=128)
    processor = t("Kosmos2Processor")(
        t("CLIPImageProcessorPil")(size={"shortest_edge": 32}, crop_size=SMALL), words, num_patch_index_tokens=16
    )
    return save(folder, t("Kosmos2ForConditionalGeneration")(config), processor)


def one_vision(folder: Path) -> Path:
    """Llava-OneVision."""
    text = t("Qwen2Config")(**{k: v for k, v in CAUSAL.items() if k != "head_dim"})
    config = t("LlavaOnevisionConfig")(
        vision_config=t("SiglipVisionConfig")(**TINY_SIGHT),
        text_config=text,
        image_token_index=5,
        video_token_index=4,
        vision_feature_layer=-1,
        image_grid_pinpoints=[[32, 32]],
    )
    sight = t("LlavaOnevisionImageProcessorPil")(size=SMALL, image_grid_pinpoints=[[32, 32]])
    words = tokenizer(extra_special_tokens={"image_token": "<image>", "video_token": "[MASK]"})
    processor = t("LlavaOnevisionProcessor")(
        image_processor=sight,
        tokenizer=words,
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=CHAT,
    )
    return save(folder, t("LlavaOnevisionForConditionalGeneration")(config), processor)


def qwen_sees(folder: Path) -> Path:
    """Qwen2.5-VL."""
    special = {"vision_start_token_id": 6, "vision_end_token_id": 7, "image_token_id": 5, "video_token_id": 4}
    text = {
        **{k: v for k, v in CAUSAL.items() if k != "head_dim"},
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 24,
        "out_hidden_size": 16,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 28,
        "fullatt_block_indexes": [0],
    }
    config = t("Qwen2_5_VLConfig")(text_config=text, vision_config=vision, **special)
    sight = t("Qwen2VLImageProcessorPil")(min_pixels=28 * 28, max_pixels=56 * 56)
    words = tokenizer(extra_special_tokens={"image_token": "<image>", "video_token": "[MASK]"})
    processor = t("Qwen2_5_VLProcessor")(image_processor=sight, tokenizer=words, chat_template=CHAT)
    return save(folder, t("Qwen2_5_VLForConditionalGeneration")(config), processor)


def read_pages(folder: Path) -> Path:
    """GOT-OCR2."""
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 1024,
        "patch_size": 16,
        "output_channels": 8,
        "mlp_dim": 24,
        "window_size": 2,
        "global_attn_indexes": [0],
        "num_pos_feats": 4,
    }
    config = t("GotOcr2Config")(
        vision_config=vision,
        text_config=t("Qwen2Config")(**{k: v for k, v in CAUSAL.items() if k != "head_dim"}).to_dict(),
        image_token_index=5,
        image_seq_length=256,
    )
    words = tokenizer(images="<imgpad>", model_max_length=512)
    processor = t("GotOcr2Processor")(t("GotOcr2ImageProcessorPil")(size={"height": 1024, "width": 1024}), words)
    return save(folder, t("GotOcr2ForConditionalGeneration")(config), processor)


def qwen_hears(folder: Path) -> Path:
    """Qwen2-Audio."""
    sound = {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "num_mel_bins": 8,
        "max_source_positions": 1500,
    }
    text = t("Qwen2Config")(**{k: v for k, v in CAUSAL.items() if k != "head_dim"})
    config = t("Qwen2AudioConfig")(audio_config=sound, text_config=text.to_dict(), audio_token_index=5)
    processor = t("Qwen2AudioProcessor")(
        t("WhisperFeatureExtractor")(feature_size=8),
        tokenizer(model_max_length=512),
        audio_token="<image>",
        audio_bos_token="<s>",
        audio_eos_token="</s>",
        chat_template=CHAT,
    )
    return save(folder, t("Qwen2AudioForConditionalGeneration")(config), processor)


def one_former(folder: Path) -> Path:
    """OneFormer."""
    backbone = t("SwinConfig")(
        image_size=128,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = t("OneFormerConfig")(
        backbone_config=backbone,
        hidden_dim=32,
        num_queries=6,
        num_attention_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        conv_dim=32,
        mask_dim=32,
        text_encoder_width=16,
        text_encoder_context_length=8,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=40,
        text_encoder_n_ctx=2,
        max_seq_len=8,
        task_seq_len=8,
        id2label={0: "sky", 1: "sea"},
        is_training=False,
    )
    metadata = {"0": "sky", "1": "sea", "thing_ids": [], "class_names": ["sky", "sea"]}
    sight = t("OneFormerImageProcessorPil")(size={"height": 128, "width": 128}, metadata=metadata, num_text=4)
    processor = t("OneFormerProcessor")(sight, tokenizer(), max_seq_length=8, task_seq_length=8)
    return save(folder, t("OneFormerForUniversalSegmentation")(config), processor)
