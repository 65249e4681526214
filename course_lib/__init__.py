"""The library of the course: what the notebooks derive, in its final form.

The core is small enough to read in an evening, in this order:

    process      q(x_t | x_0): DDPM, VarianceExploding, RectifiedFlow
    schedules    the betas and sigmas of a process
    prediction   one estimate of x_0 and eps at x_t, in five parameterisations
    denoisers    the Denoiser protocol; Network, which makes a denoiser from an nn.Module
    samplers     one generator function for each algorithm; `sample` for sampling in batches
    training     losses, the training loop, EMA
    muon         Muon, the optimizer of the digits' convolutions
    guidance     classifier guidance, classifier-free guidance, thresholding
    mixtures     Gaussian mixtures, for which score and optimal denoiser have closed forms
    metrics      distances between sets of samples
    plots        figures with large type and alt text

Four modules serve these: `validate` checks arguments, `files` has the paths and writes files atomically, `parallel` trains on
several processes, and `__main__` is the command `course`.

    methods/     one module for each method that is built on the core
    nets/        the networks
    datasets/    points, digits, and synthetic pictures with captions
    zoo/         the shipped models: checkpoints, and the recipes that train them
    teaching/    the checks of exercises, the claims, a class's work, and the publication of the notebooks
    widgets/     interactive figures for notebooks and pages

Imports run in one direction: core, nets and datasets, methods, zoo, teaching and widgets.
"""
