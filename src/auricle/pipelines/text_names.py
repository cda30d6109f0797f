"""Names of generate() that have one meaning here, or none: a caller who gives them learns why."""

from __future__ import annotations

from typing import Any

# Parameters with one meaning here: the values that ask for it, and why no others.
ONE_MEANING: dict[str, tuple[tuple[Any, ...], str]] = {
    "use_cache": ((True,), "keys and values are always kept; without them the text is the same and slow"),
    "padding": ((True, False, "longest", "do_not_pad"), "a prompt is as long as it is; its text depends on no pads"),
    "synced_gpus": ((False,), "a model runs on one device"),
    "return_dict_in_generate": ((False,), "give logprobs=True for probabilities"),
    "output_scores": ((False,), "give logprobs=True for probabilities"),
    "output_logits": ((False,), "give logprobs=True for probabilities"),
    "output_attentions": ((False,), "attentions are not returned"),
    "output_hidden_states": ((False,), "states are not returned"),
    "remove_invalid_values": ((False,), "invalid values are errors of a model, and are not hidden"),
    "watermark": ((False,), "texts are not marked"),
    "encoder_repetition_penalty": ((1.0,), "there is no encoder; give repetition_penalty"),
    "encoder_no_repeat_ngram_size": ((0,), "there is no encoder; give no_repeat_ngram_size"),
    "guidance_scale": ((1.0,), "texts are not guided by a second prompt"),
    "assistant_model": ((), "no second model drafts here"),
    "prompt_lookup_num_tokens": ((), "nothing is drafted from the prompt here"),
    "force_words_ids": ((), "words cannot be forced; ask for them in the prompt"),
    "constraints": ((), "constraints are not supported; ask for what you need in the prompt"),
    "logits_processor": ((), "rules about tokens are logit_bias, bad_words_ids and suppress_tokens here"),
    "stopping_criteria": ((), "give stop_strings, max_new_tokens or max_time"),
    "prefix_allowed_tokens_fn": ((), "rules about tokens are logit_bias, bad_words_ids and suppress_tokens here"),
    "sequence_bias": ((), "give logit_bias for single tokens, or bad_words_ids for what may not be written"),
    "exponential_decay_length_penalty": ((), "the end does not become likelier; give max_new_tokens"),
    "forced_bos_token_id": ((), "no token is forced; write it into the prompt"),
    "forced_eos_token_id": ((), "no token is forced; a text of max_new_tokens ends there"),
    "begin_suppress_tokens": ((), "give suppress_tokens, which holds for all of a text"),
    "token_healing": ((False,), "a prompt's last token stays as it is"),
    "watermarking_config": ((), "texts are not marked"),
    "dola_layers": ((), "layers are not contrasted; penalty_alpha contrasts tokens"),
    "top_h": ((), "give top_k, top_p, min_p, typical_p, epsilon_cutoff or eta_cutoff"),
}
# Of them, those that change what is written, so that a checkpoint that states one is not run as if it did not.
CHANGING = frozenset(
    """
    begin_suppress_tokens constraints dola_layers exponential_decay_length_penalty force_words_ids forced_bos_token_id
    forced_eos_token_id guidance_scale sequence_bias token_healing top_h watermarking_config
    """.split()
)
# Bookkeeping of generation_config.json, and tokens that are not chosen here: they say nothing about how to write.
NO_MATTER = frozenset(
    """
    _from_model_config pad_token_id bos_token_id transformers_version cache_implementation decoder_start_token_id
    transformers_weights max_matching_ngram_size num_assistant_tokens num_assistant_tokens_schedule is_assistant
    assistant_confidence_threshold disable_compile low_memory cache_config
    """.split()
)
