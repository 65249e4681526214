"""The data: Gaussian mixtures in the plane (`points`), handwritten digits (`digits`), and synthetic pictures that are generated
on demand. `scenes` are the ground truth of pictures of shapes, `shapes` draws them, `captions` describes and tokenises them;
`words` are pictures of short words."""
