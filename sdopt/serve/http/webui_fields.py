"""The fields of ``POST /sdapi/v1/txt2img`` and ``/sdapi/v1/img2img``."""

from __future__ import annotations

from sdopt.serve.http.fields import Field

_SAME = "Both passes have the same."

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
    Field("subseed", "honoured", "With subseed_strength: the noise to go to. -1 draws one."),
    Field("subseed_strength", "honoured", "0 to 1: how far; all pictures then share the seed."),
    Field("s_churn", "honoured", "For the sampler `euler`; refused above 0 with any other."),
    Field("s_tmin", "honoured", "With s_churn."),
    Field("s_tmax", "honoured", "With s_churn; 0 is no limit."),
    Field("s_noise", "honoured", "With s_churn; without it only 1 passes."),
)
_REST = (
    Field("do_not_save_samples", "no effect", "Nothing is ever written to the server's disk."),
    Field("do_not_save_grid", "no effect", "Nothing is ever written to the server's disk."),
    Field("force_task_id", "no effect", "Jobs are named by the server."),
    Field("styles", "refused", "Write the style into the prompt.", ([],)),
    Field("seed_resize_from_h", "refused", "Pictures have one size.", (0, -1)),
    Field("seed_resize_from_w", "refused", "Pictures have one size.", (0, -1)),
    Field("restore_faces", "refused", "There is no face restoration.", (False,)),
    Field("tiling", "refused", "Tiling is not supported.", (False,)),
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
    Field("enable_hr", "honoured", "A larger picture from the first one, see images.md."),
    Field("hr_scale", "honoured", "With enable_hr. Default 2."),
    Field("hr_upscaler", "honoured", "With enable_hr: a latent one, Lanczos or Nearest."),
    Field("hr_second_pass_steps", "honoured", "With enable_hr; 0 is as many as steps."),
    Field("denoising_strength", "honoured", "With enable_hr. Default 0.75."),
    Field("hr_resize_x", "refused", "Say hr_scale.", (0,), "enable_hr"),
    Field("hr_resize_y", "refused", "Say hr_scale.", (0,), "enable_hr"),
    Field("hr_checkpoint_name", "refused", _SAME, ("", "Use same checkpoint"), "enable_hr"),
    Field("hr_sampler_name", "refused", _SAME, ("", "Use same sampler"), "enable_hr"),
    Field("hr_scheduler", "refused", _SAME, ("", "Use same scheduler"), "enable_hr"),
    Field("hr_prompt", "refused", _SAME, ("",), "enable_hr"),
    Field("hr_negative_prompt", "refused", _SAME, ("",), "enable_hr"),
    Field("firstphase_width", "refused", "width and hr_scale say it.", (0,)),
    Field("firstphase_height", "refused", "height and hr_scale say it.", (0,)),
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
