"""The fields of ``POST /sdapi/v1/txt2img`` and ``/sdapi/v1/img2img``."""

from __future__ import annotations

from sdopt.serve.http.fields import Field

_HIRES = "There is no second pass."
_ONLY = "Euler's churn is not supported."

_ASKED = (
    Field("prompt", "honoured", "With weights and BREAK, see prompts.md."),
    Field("negative_prompt", "honoured", "Without effect where cfg_scale is 1, as in the web UI."),
    Field("seed", "honoured", "-1 draws one."),
    Field("batch_size", "honoured", "batch_size × n_iter pictures, from seed, seed + 1, …"),
    Field("n_iter", "honoured", "See batch_size."),
    Field("steps", "honoured", "Default 50."),
    Field("cfg_scale", "honoured", "Default 7."),
    Field("width", "honoured", "Default 512."),
    Field("height", "honoured", "Default 512."),
    Field("sampler_name", "honoured", "A name from /sdapi/v1/samplers. Default: the bundle's."),
    Field("sampler_index", "honoured", "The same, where sampler_name is absent."),
    Field("scheduler", "honoured", "`automatic`, `karras`, `exponential` or `beta`."),
    Field("eta", "honoured", "For samplers that take it; 1 and 0 pass for all others."),
    Field("send_images", "honoured", "false leaves the pictures out of the answer."),
    Field(
        "override_settings",
        "honoured",
        "sd_model_checkpoint and CLIP_stop_at_last_layers; any other setting is refused.",
    ),
    Field("override_settings_restore_afterwards", "no effect", "They hold for one request."),
)
_REST = (
    Field("do_not_save_samples", "no effect", "Nothing is ever written to the server's disk."),
    Field("do_not_save_grid", "no effect", "Nothing is ever written to the server's disk."),
    Field("force_task_id", "no effect", "Jobs are named by the server."),
    Field("styles", "refused", "Write the style into the prompt.", ([],)),
    Field("subseed", "no effect", "Belongs to subseed_strength, which is refused."),
    Field("subseed_strength", "refused", "Pictures have one seed.", (0,)),
    Field("seed_resize_from_h", "refused", "Pictures have one size.", (0, -1)),
    Field("seed_resize_from_w", "refused", "Pictures have one size.", (0, -1)),
    Field("restore_faces", "refused", "There is no face restoration.", (False,)),
    Field("tiling", "refused", "Tiling is not supported.", (False,)),
    Field("s_churn", "refused", _ONLY, (0,)),
    Field("s_tmin", "no effect", "Belongs to s_churn, which is refused."),
    Field("s_tmax", "no effect", "Belongs to s_churn, which is refused."),
    Field("s_noise", "refused", _ONLY, (1,)),
    Field("script_name", "refused", "There are no scripts.", ("",)),
    Field("script_args", "refused", "There are no scripts.", ([],)),
    Field("alwayson_scripts", "refused", "There are no scripts.", ({},)),
    Field("save_images", "refused", "Nothing is written to the server's disk.", (False,)),
    Field("infotext", "refused", "Send the fields themselves.", ("",)),
    Field("refiner_checkpoint", "refused", "There is no refiner.", ("",)),
    Field("refiner_switch_at", "no effect", "Belongs to refiner_checkpoint, which is refused."),
    Field("comments", "refused", "Comments are not supported.", ({},)),
    Field("disable_extra_networks", "refused", "There are no extra networks.", (False, True)),
)

TXT2IMG_FIELDS = (
    *_ASKED,
    Field("denoising_strength", "no effect", "Without a first picture it means nothing."),
    Field("hr_scale", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_upscaler", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_second_pass_steps", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_resize_x", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_resize_y", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_checkpoint_name", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_sampler_name", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_scheduler", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_prompt", "no effect", "Belongs to enable_hr, which is refused."),
    Field("hr_negative_prompt", "no effect", "Belongs to enable_hr, which is refused."),
    Field("enable_hr", "refused", _HIRES, (False,)),
    Field("firstphase_width", "refused", _HIRES, (0,)),
    Field("firstphase_height", "refused", _HIRES, (0,)),
    *_REST,
)

IMG2IMG_FIELDS = (
    Field("init_images", "honoured", "Required: one PNG, JPEG or WebP file in base64."),
    Field("denoising_strength", "honoured", "Above 0 and up to 1. Default 0.75."),
    Field("mask", "honoured", "Of the picture's size, bright where it is redrawn."),
    Field("mask_blur", "honoured", "Radius in the mask's pixels. Default 4."),
    Field(
        "inpainting_fill",
        "honoured",
        "What the masked area starts from: 0, the colours around it (the default), or 1, the "
        "picture. 2 and 3 are refused with a mask.",
    ),
    Field("inpaint_full_res", "honoured", "Whether to redraw the masked area alone. Default true."),
    Field("inpaint_full_res_padding", "honoured", "Pixels to keep around it then. Default 0."),
    Field("inpainting_mask_invert", "honoured", "1 redraws what is dark."),
    Field("include_init_images", "honoured", "Whether `parameters` repeats the pictures."),
    *_ASKED,
    Field("resize_mode", "refused", "The picture is stretched to width × height.", (0,)),
    Field("mask_blur_x", "refused", "Say mask_blur.", (4,)),
    Field("mask_blur_y", "refused", "Say mask_blur.", (4,)),
    Field("mask_round", "refused", "Masks are rounded to latents.", (True,)),
    Field("initial_noise_multiplier", "refused", "Noise is what the scheduler says.", (1,)),
    Field("image_cfg_scale", "no effect", "Belongs to models that are edited by instruction."),
    Field("latent_mask", "refused", "Send mask."),
    *_REST,
)
