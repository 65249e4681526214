"""The networks, as plain nn.Modules. A denoising network is called as `net(x, time, cond)`, with time as a fraction of T. Its
`shape` is that of one sample, and its `as_condition` turns a label, a caption or NULL into the tensor cond. Start with `mlp`
and `unet`; `embeddings` and `attention` are their parts, `hooks` records what is inside them."""
