"""One module for each method that is built on the core, as losses, denoisers and generators of steps: distillation, latent
diffusion, cascades, SDXL, unCLIP, CLIP guidance, editing and inpainting, interpolation, watermarks, GAN and VAE, the
density that guidance samples, SDEs with the likelihood along the probability flow, EDM and fast solvers, flow matching,
average velocities and distribution matching, masked diffusion of words, adapters, and rewards. A method imports the core, nets
and datasets, and needs no new training loop."""
