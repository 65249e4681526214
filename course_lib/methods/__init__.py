"""One module for each method that is built on the core, as losses, denoisers and generators of steps: distillation, flow
matching, latent diffusion, cascades, SDXL, unCLIP, CLIP guidance, editing and inpainting, interpolation, watermarks, GAN and
VAE, and the density that guidance samples. A method imports the core, nets and datasets, and needs no new training loop."""
