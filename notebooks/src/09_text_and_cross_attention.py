# %% [markdown]
# # 09 Text and cross-attention: a picture from a caption
#
# **You will be able to** turn a caption into vectors; write multi-head cross-attention and run it in a trained network; measure
# where the attention to a word falls; and say for which captions the network fails, and why the order of the words matters.
#
# **Time** 60 minutes, 15 of them for two optional parts. **Needs** lessons 04 (attention) and 08 (guidance). **Papers** Robin
# Rombach and others: *High-Resolution Image Synthesis with Latent Diffusion Models* (2022), section 3.3; Alex Nichol and
# others: *GLIDE* (2022); Ashish Vaswani and others: *Attention Is All You Need* (2017).

# %% tags=["nbval-ignore-output"]
from course_lib.teaching.course_map import course_map

course_map("09")

# %% [markdown]
# ## Why a caption and not a label?
#
# A label is one of ten classes. A caption says *what*, *which colour*, *how many* and *where*. Most captions are new: nobody
# wrote them before. To measure how well a model follows a caption, we must know what is in a picture. So this lesson uses a
# small world that is known exactly. Pictures of coloured shapes are drawn on the fly, and a grammar writes their captions, with
# synonyms and three forms of sentence. (Red is drawn as a vermilion that looks orange: these colours can be told apart with any
# colour vision.)

# %%
import copy
from dataclasses import replace
from functools import partial

import matplotlib.pyplot as plt
import torch
from course_lib import plots
from course_lib.datasets import captions, scenes, shapes
from course_lib.guidance import classifier_free
from course_lib.nets.attention import CrossAttention
from course_lib.nets.hooks import cross_attention_maps
from course_lib.process import randn_like, seeded
from course_lib.samplers import ddim, sample
from course_lib.teaching import checks as check
from course_lib.teaching.claims import claim
from course_lib.teaching.evidence import all_of, compare, estimate, share
from course_lib.widgets.guess import guesses, predict
from course_lib.zoo import figures, models
from course_lib.zoo.recipes.shapes import (
    BLUR,
    NOISE,
    degrade,
    pair_prompts,
    text2shape_network,
)
from torch.nn.functional import linear

plots.style()
BLUE, ORANGE, GREEN, RED = plots.COLOURS[:4]
rng = seeded(4)
scene = scenes.sample(12, rng)
prompts, _ = captions.tell(scene, rng)
print("\n".join(prompts))
plots.show(
    plots.pictures(shapes.draw(scene, rng), columns=6, scale=0.055),
    alt="Twelve pictures of one to four coloured shapes on black: " + "; ".join(prompts),
)

# %% [markdown]
# Four shapes in six colours are 24 objects. Two different ones, two sizes each and two relations give
# $24 \cdot 23 \cdot 4 \cdot 2 = 4{,}416$ scenes. Some are held out of the training data:
#
# - **new objects**: four of the 24 objects never occur in training: blue circle, yellow square, pink triangle, green star.
#   Other green objects and other stars do;
# - **new pairs**: one pair of objects in eight never occurs together. Each of the two occurs in other pairs.
#
# ### The detector
#
# A **detector** finds each object of a picture, with its shape, colour, size and place. Ours was trained on fresh drawings,
# held-out objects among them, without captions. It evaluates every picture of this lesson. So first, how often is it wrong?
# We test it on clean drawings, and on noisy and blurred ones. Generated pictures may have other flaws, for which it was not
# tested. (Here and below "±" is one standard error. For shares of single pictures two right and two wrong ones are added to
# it. For means over sets, scenes or trainings it is 0.0 where all have the same value. That is no proof that errors are
# impossible.)

# %%
evaluator = models.load("reader")
rng = seeded(5)
fresh = scenes.join([scenes.sample(600, rng), scenes.sample(300, rng, split="new objects")])
drawings = shapes.draw(fresh, rng)
versions = {
    "clean": drawings,
    "noisy": degrade(drawings, NOISE, 0, rng),
    "blurred": degrade(drawings, 0, BLUR, rng),
}
for name, x in versions.items():
    right, _ = scenes.matches(evaluator.detect(x), fresh)["all"]
    print(f"{name:8} all attributes right in {share(right):.2%} of 900 drawings")

# %% [markdown]
# Six attributes are compared with the caption: the number of objects (**count**), their shapes, their colours, which colour
# belongs to which shape (**binding**; right only if all shapes and colours are), the relation, and the sizes. A picture is
# right if all that its caption says is right.
#
# ## From words to vectors
#
# A **tokenizer** splits a caption into **tokens**, here words, and gives each its number in a list. Token 0 is the start. Token
# 1 is **padding**, which makes all captions equally long. The **empty caption**, a start and padding alone, is the null
# condition of lesson 08.

# %%
one = "a red circle left of a blue square"
print(captions.tokens(one)[0].tolist())
try:
    captions.tokens("a red circel")
except ValueError as error:
    print("ValueError:", error)

# %% [markdown]
# A **text encoder** turns tokens into vectors. Each token has a learned vector. A learned **position vector** says where in the
# caption it stands, and is added. Two layers of self-attention (lesson 04), over words instead of places, mix them. After that
# the vector of "red" can depend on the noun that follows.
#
# ### Optional, 4 minutes: an encoder trained on text
#
# <!-- notebook -->(Run its cells in any case: later ones use their names.)<!-- /notebook --> Our encoder was trained before it
# was given any picture. It encodes a caption, and a small decoder predicts the **plain form** of it: "a red circle left of a
# blue square", whatever synonyms and form the caption had. The grammar gives the right plain form, so this is supervised
# training. The encoder of T5 is trained otherwise, by **span corruption**: stretches of a text are removed, and the model
# predicts them. That needs no labels (Raffel et al. 2020).
#
# The grammar has three forms of sentence about two objects. This leaves other forms that no training caption had:

# %%
paraphraser = models.load("paraphraser")


@torch.no_grad()
def plain_tokens(prompts):
    """The tokens of the plain forms that the network predicts."""
    return paraphraser(captions.tokens(prompts)).argmax(2)


KNOWN, NEW = (list(captions.FORMS)[i : i + 3] for i in (0, 3))
example = pair_prompts(1, "train", seed=9)[1]
example = replace(example, size=torch.full_like(example.size, -1))  # sizes left unsaid
for kind, forms in {"in training": KNOWN, "never in training": NEW}.items():
    print(kind, *(f"    {captions.in_form(example, form)[0]}" for form in forms), sep="\n")

# %% tags=["nbval-ignore-output"]
predict(
    "text-new-forms.inverted",
    "For how many captions of the second new form is the plain form right, without one "
    "wrong word?",
    low=0,
    high=100,
    unit="%",
)

# %%
rng = seeded(8)
pairs = scenes.sample(500, rng, ("pair",))
new = scenes.sample(500, rng, ("pair",), "new objects")


def right_of(form, scene=pairs):
    """For each scene, 100 where the plain form is predicted without one wrong word, else 0."""
    wanted = captions.tokens(captions.describe(scene))
    return 100.0 * (plain_tokens(captions.in_form(scene, form)) == wanted).all(1).double()


by_form = {form: right_of(form) for form in captions.FORMS}
for form, right in by_form.items():
    print(f"{captions.in_form(example, form)[0]:54} {right.mean():5.1f} % right")
mean = lambda forms: sum(by_form[form] for form in forms) / len(forms)
claim(
    "text-new-forms",
    "On average over three forms of sentence that no training caption had, the encoder and "
    "its decoder are wrong more often than in the known forms.",
    figures=dict(
        right=compare(mean(NEW), mean(KNOWN), runs="scenes"),
        inverted=estimate(by_form[NEW[1]], "scenes"),
        objects=estimate(sum(right_of(form, new) for form in KNOWN) / 3, "scenes"),
    ),
    measured="{right:.1f} % right; in the second new form {inverted:.1f} %; new objects in "
    "known forms {objects:.1f} %",
    holds=lambda right: right.lower,
    null={
        "the inverted form, a known one": dict(
            right=compare(by_form["inverted"], mean(KNOWN), "scenes")
        )
    },
)

# %% [markdown]
# New objects in known forms are no difficulty: {{text-new-forms.objects}} %. A new form can be one. The second is
# the worst. In training "that is" stood only where the sentence begins with that object, so never in an inverted sentence. All
# three new forms break this rule, and for the third every plain form is right. So the rule alone does not explain the errors;
# their cause was not measured.
#
# ## Cross-attention
#
# Now the picture has to be conditioned on these vectors. In self-attention, queries, keys and values come from the same map
# (lesson 04). In **cross-attention** the queries come from the picture, one for each place. Keys and values come from the
# words:
#
# $$q = W_q\,h_{\text{place}}, \qquad k = W_k\,e_{\text{word}}, \quad v = W_v\,e_{\text{word}}, \qquad
# h \leftarrow h + W_o\,\mathrm{softmax}\!\left(\frac{q k^\top}{\sqrt d}\right) v .$$
#
# One slide of the lecture has it the other way round ("Q comes from Text; K, V comes from Image"). Count the rows: attention
# gives one row for each **query**, and the U-Net needs one for each place. So the queries come from the picture, as in Rombach
# et al., section 3.3.
#
# **Multi-head attention** cuts queries, keys and values into `heads` parts of $d = C / \text{heads}$ channels. Each part has
# a softmax of its own, and the results are joined (Vaswani et al. 2017, section 3.2.2). A **mask** is False for padding: its
# score becomes minus infinity, and its weight 0.
#
# ### Exercise 1: `cross_attention` (difficulty 3, 14 minutes)
#
# Write the whole attention, 6 to 12 lines:
#
# 1. `query(picture)` (B, P, C), `key(text)` and `value(text)` (B, L, C). Split the channels of each into heads: (B, heads, n,
#    d). Head 0 has the first $d$ channels. `x.unflatten(2, (heads, -1))` helps.
# 2. Scores of each place with each word, divided by $\sqrt d$, with $d$ the channels of *one* head. Minus infinity for padding;
#    softmax over the words; the sum of the values, weighted by it.
# 3. Join the heads again: (B, P, C). $W_o$ and the sum with $h$ are not part of it.


# %%
def my_cross_attention(picture, text, mask, query, key, value, heads):
    """picture (B, P, C), text (B, L, D), mask (B, L), True for real words; query, key and
    value are linear layers with C outputs, to be called. Gives (B, P, C)."""
    ...  # write it here


verdict = check.cross_attention(my_cross_attention)
my_cross_attention = verdict.function  # yours once it is right, the library's until then
verdict

# %%
check.solution("cross_attention")

# %% [markdown]
# ### Your attention in a trained network
#
# `text2shape` is the U-Net of lesson 04 for 32 × 32 pixels, cut into patches of 2 × 2 (lesson 06), with cross-attention after
# every block. So a place is a patch at the finest level, of 16 × 16 places, and more pixels at the coarser ones. Before $W_q$
# a layer
# normalises $h$ and adds a learned vector for each place of the picture, `layer.position`. "Left of" depends on the place,
# and a convolution is the same at all places. These are not the position vectors of the words.
#
# The vector of the start token stands for the whole caption, and is added to the time embedding. (GLIDE puts its last token's
# vector in the place of a class embedding: Nichol et al. 2022, section 4.1.) The code below puts *your* function into all of
# its layers.


# %%
def run(layer, attend, h, words, mask):
    """What a CrossAttention layer computes, with `attend` as its attention."""
    C, w, b = h.shape[1], layer.key_value.weight, layer.key_value.bias
    picture = (layer.norm(h) + layer.position).flatten(2).mT  # (B, places, C)
    query = lambda x: linear(x, layer.query.weight[:, :, 0, 0], layer.query.bias)
    key, value = (lambda x: linear(x, w[:C], b[:C])), (lambda x: linear(x, w[C:], b[C:]))
    out = attend(picture, words, mask, query, key, value, layer.heads)
    return h + layer.out(out.mT.reshape(h.shape))


def with_attention(network, attend):
    """The network with `attend` in all of its cross-attention layers."""
    net = copy.deepcopy(network.net)
    for layer in net.modules():
        if isinstance(layer, CrossAttention):
            layer.forward = partial(run, layer, attend)
    return replace(network, net=net)


network = models.load("text2shape")
mine = with_attention(network, my_cross_attention)
prompts, wanted = pair_prompts(8, "train", seed=7)
noise = network.draw_noise(8, seeded(1))


def generate(model, prompts=prompts, noise=noise, w=3.0):
    """Pictures of these captions: guidance, 15 steps of DDIM."""
    return sample(classifier_free(model, prompts, w), noise, 15)


by_mine = generate(mine)
with torch.no_grad():
    both = (model.given(prompts)(noise, 1000).x0 for model in (mine, network))
    print(f"difference from the library's layers: {torch.sub(*both).abs().max():.0e}")
print("\n".join(prompts))
plots.show(
    plots.pictures(by_mine, columns=8, scale=0.045),
    alt="Eight generated pictures, each of two coloured shapes on black, as their captions "
    "say: " + "; ".join(prompts) + ".",
)

# %% [markdown]
# ### Training with text dropout
#
# Guidance works as with labels. In training one caption in ten is replaced by the empty caption: **text dropout**. The loss is
# one line, `denoising_loss(network.given(captions).drop_condition(0.1, rng), pictures, rng, t)`. The encoder starts from the
# weights above and is trained together with the U-Net. So it is neither frozen nor trained from nothing. (Latent diffusion
# trains both together: Rombach et al. 2022, eq. 3.)
#
# The network predicts $x_0$ (lesson 02). It was trained for 11,000 steps of 32 pictures (`course train text2shape`), about half
# of them pairs. The times `t` are not uniform. The first 600 steps have $t \ge 0.7\,T$, where only the caption says what lies
# where. After a quarter of the steps half of each batch lies between $T/4$ and $3T/4$. Each shipped model of this lesson is one
# training; where three trainings were made, the text says so.
#
# ## Captions to pictures
#
# Six noises, one caption, $w = 3$, DDIM (a deterministic sampler that lesson 14 derives). Drag the slider through the steps.
# In which order do places, colours and edges appear?
#
# <!-- Ask: In which order do places, colours and edges appear? -->

# %%
from course_lib.widgets.player import play


def film(caption, n, w=3.0, steps=24, seed=0):
    guided = classifier_free(network, caption, w)
    x = network.draw_noise(n, seeded(seed))
    return list(ddim(guided, x, network.process.times(steps)))


play(film("a large yellow star above a small blue circle", 6)[::2])

# %% [markdown]
# Write a caption of your own and press Enter. Below each picture stands what the detector finds. Try a new object (*a green
# star*), synonyms (*a little red disc under a big white box*), a new form of sentence, or a word that is not in the list.

# %% tags=["nbval-ignore-output"]
from course_lib.widgets.prompt import prompt_box

prompt_box(
    network,
    evaluator,
    (
        "a small green star right of a large pink triangle",
        "left of a blue star that is large is a red circle",
        "four blue triangles",
        "a large white circle in the top left corner",
    ),
)

# %% [markdown]
# ## Does the picture match its caption?
#
# Captions of known pairs at five guidance weights: sets of 40 captions, each with its noise, 20 DDIM steps, measured by
# `python tests/benchmarks/text_guidance.py`. There are ten sets at $w = 1$ and 3, else five. The table has the shares that are
# right. Relation and size are compared only where the binding is right, since only then is it known which object is which. At
# $w = 0$ the caption has no influence. (Relation and size of that row are from 3 pictures in two sets and say nothing; its
# other figures are chance.)

# %% tags=["nbval-ignore-output"]
predict(
    "text-guidance.missed",
    "At w = 1, in how many pictures is something wrong that the caption says?",
    low=0,
    high=30,
    unit="%",
)

# %%
runs = figures.load("text_guidance").sort_values("seed", kind="stable")
ATTRIBUTES = ("count", "colour", "shape", "binding", "relation", "size", "all")


def wrong(kind, w, name="all"):
    """The share of pictures in which an attribute is wrong, in percent, for each set."""
    return 100 - 100 * figures.values(runs, f"right: {name}", kind=kind, w=w)


known = runs[runs.kind == "known"].groupby("w")[[f"right: {name}" for name in ATTRIBUTES]]
print("right, in %")
print((100 * known.mean()).round(1).rename(columns=lambda name: name[7:]))

# %%
more, less = wrong("known", 1.0), wrong("known", 3.0)
claim(
    "text-guidance",
    "With w = 3 fewer pictures differ from what the caption says than with w = 1 (known "
    "pairs, 20 steps).",
    figures=dict(
        missed=estimate(more, "sets of 40"), guided=compare(less, more, "sets of 40")
    ),
    measured="something is wrong in {missed:.1f} % at w = 1; w = 3 beside w = 1: "
    "{guided:.1f} %",
    holds=lambda guided: guided.lower,
    null={
        "w = 1 twice, other captions": dict(
            guided=compare(more[5:], more[:5], "sets of 40", paired=False)
        )
    },
)

# %% [markdown]
# Sets differ: at $w = 1$ from 0 to 15 % are wrong, so two halves with other captions (the null model) lie 4.5 points apart,
# more than the effect. The claim compares the same captions and noises: seven of ten sets are better at $w = 3$, three equal.
#
# For $w \ge 1$ binding is right as often as shape: no picture with the right shapes has a colour at the wrong one. At $w = 5$
# more pictures of the table are wrong than at $w = 3$; no claim is made of either.
#
# ## For which captions does it fail?
#
# Now captions that differ from those of training, and captions of equal objects ("four blue triangles"). These are about a
# quarter of training's captions, and pairs about half. The forms are sentences about the same known pairs. Each point is the
# share of pictures with something wrong. A bar is the margin that a verdict needs: 2.8 standard errors of five sets, 2.3 of
# ten.

# %% tags=["nbval-ignore-output"]
predict(
    "text-wrong.numbers",
    "Of captions such as 'four blue triangles' at w = 3: in how many pictures is something "
    "wrong?",
    low=0,
    high=100,
    unit="%",
)

# %%
SAID = {
    "known": "known pairs",
    "new pairs": "new pairs",
    "new objects": "one object new",
    "both objects new": "both objects new",
    "numbers": "two to four equal objects",
} | {form: captions.in_form(example, form)[0] for form in NEW}
fig, ax = plt.subplots(figsize=(11.5, 5.6))
for w, shift, colour, mark in ((1.0, 0.15, ORANGE, "s"), (3.0, -0.15, BLUE, "o")):
    kinds = [k for k in SAID if w == 3 or k not in captions.FORMS]
    each = [estimate(wrong(k, w), "sets") for k in kinds]
    at = [list(SAID).index(k) + shift for k in kinds]
    bars = [e.margin for e in each]
    style = dict(fmt=mark, color=colour, ms=10, capsize=5, lw=2)
    ax.errorbar([e.mean for e in each], at, xerr=bars, **style, label=f"w = {w:g}")
ax.set_yticks(range(len(SAID)), SAID.values(), fontsize=14)
ax.set(xlim=(-8, 100), xlabel="pictures with something wrong, in %")
ax.set_title("Where the network fails")
ax.invert_yaxis()
ax.legend(loc="upper right")
plots.show(
    fig,
    alt="Points with bars: pictures with something wrong. At w = 3 fewer than 2 % of "
    "known pairs, new pairs, and pairs with one or two new objects; 27 % of two to four "
    "equal objects; of the three new forms 0.5, 36 and 73 %. At w = 1: 4 % of known "
    "pairs, 6 % of new pairs, 11 % with one new object, 17 % with two, 28 % of equal "
    "objects.",
)

# %%
sets = "sets of 40"
beside = lambda kind, n: compare(wrong(kind, 3.0)[:n], wrong("known", 3.0)[:n], sets)
at_1 = lambda kind: compare(wrong(kind, 1.0), wrong("known", 3.0)[:5], sets)
claim(
    "text-new-objects",
    "At w = 3 captions with held-out pairs and with two held-out objects are drawn right in "
    "at least 97 %, and within five points of known ones.",
    figures=dict(pairs=beside("new pairs", 10), objects=beside("both objects new", 10)),
    measured="something wrong: new pairs {pairs:.1f} %, both objects new {objects:.1f} %",
    holds=lambda pairs, objects: all_of(
        *(kind.difference.within(-5, 5) for kind in (pairs, objects)),
        *(kind.a.below(3) for kind in (pairs, objects)),
    ),
    null={
        "the same captions at w = 1": dict(
            pairs=at_1("new pairs"), objects=at_1("both objects new")
        )
    },
)

# %% [markdown]
# Both thresholds were fixed before these sets were drawn: 97 % is what an earlier measurement had asked of known pairs, and
# five points are one picture in twenty.

# %%
of_forms = lambda forms: sum(wrong(form, 3.0) for form in forms) / len(forms)
form = lambda forms, others: compare(of_forms(forms), of_forms(others), sets)
print("right at w = 3, in %")
for f in NEW:
    right = {
        name: 100 - wrong(f, 3.0, name).mean()
        for name in ("shape", "colour", "binding", "relation")
    }
    print(f"{SAID[f]:50}", *(f"{name} {value:.1f}" for name, value in right.items()))
claim(
    "text-wrong",
    "At w = 3 numbers of equal objects, and new forms of sentence on average over three, are "
    "drawn wrong more often than known pairs in known forms.",
    figures=dict(
        numbers=beside("numbers", 5),
        unguided=estimate(wrong("numbers", 1.0), sets),
        forms=form(NEW, KNOWN),
        **{
            n: estimate(wrong(f, 3.0), sets) for n, f in zip(("first", "second", "third"), NEW)
        },
    ),
    measured="numbers {numbers:.1f} % ({unguided:.1f} % at w = 1); new forms {forms:.1f} %, "
    "one by one {first:.1f}, {second:.1f} and {third:.1f} %",
    holds=lambda numbers, forms: all_of(numbers.higher, forms.higher),
    null={
        "new pairs, and the inverted form": dict(
            numbers=beside("new pairs", 5), forms=form(["inverted"], KNOWN)
        )
    },
)

# %% [markdown]
# So at $w = 3$ the network generalises to new combinations of known words. Without guidance new objects are harder: at $w = 1$
# 16.5 % of pairs of two new ones are wrong, 6.5 % of known pairs in the same five sets (no claim). Of the three new forms it
# generalises to the first; the second fails in {{text-wrong.second}} % of pictures, the third in {{text-wrong.third}} %.
# Binding is right only where all shapes and colours are, so it cannot be above either. In the second form colours fail more
# often than shapes, in the third shapes more often than colours; and of the third's pictures with right binding about three in
# ten have the relation turned (no claim). For the third the plain forms above were right. The encoder of `text2shape` was
# trained on with the U-Net; why other forms fail was not measured.
#
# Guidance was not seen to help with numbers: {{text-wrong.unguided}} % are wrong at $w = 1$. At $w = 3$ the count is wrong in
# each wrong picture of equal objects. Some errors in the third new form:

# %%
rng = seeded(11)
some = scenes.sample(16, rng, ("pair",))
asked = captions.in_form(some, NEW[2])
x = generate(network, asked, network.draw_noise(16, rng))
found = evaluator.detect(x)
right, _ = scenes.matches(found, some)["all"]
errors = (~right).nonzero().flatten()[:6]
names = captions.describe(found[errors])
for i, name in zip(errors.tolist(), names):
    print(f"{asked[i]}\n    in the picture: {name}")
plots.show(
    plots.pictures(x[errors], columns=6, scale=0.055),
    alt="Six generated pictures of two shapes each. In all of them a shape, a colour or a "
    "size differs from the caption, as the lines above say.",
)

# %% [markdown]
# ## Optional, 11 minutes: where does the attention to a word fall?
#
# The weights of cross-attention say how much each place takes from each word. Click a word, and drag the slider.

# %%
from course_lib.widgets.attention import attention_player

long = "a large red circle left of a small blue star"
attention_player(network, long, film(long, 1, seed=3)[::2])

# %% [markdown]
# Does the map of a word lie on its own object? Take real pictures of two objects, so that it is known where they are, noise
# them to time $t$, and give the network their captions. Which share of all attention to a word lies on the object that it
# names, and which on the other object? A map is the mean over all heads of all layers with 16 × 16 places, the finest.
# In the plot a bar is the margin, about two standard errors of 40 pictures.
#
# ### Exercise 2: `attention_share` (difficulty 2, 6 minutes)
#
# `weights` (B, L, H, W) are attention maps, one for each token of each caption. `words` (B, n) are positions in the caption,
# indices into L (0 is the start token). `cover` (B, H, W) is between 0 and 1: how much of each place the object covers. Mind
# the sum: over the *words* the weights of a place sum to 1, over the *places* they do not.


# %%
def my_attention_share(weights, words, cover):
    """Of the attention to each of these words, the part that lies on the object: (B, n)."""
    ...  # write it here


verdict = check.attention_share(my_attention_share)
my_attention_share = verdict.function
verdict

# %%
check.solution("attention_share")

# %% tags=["nbval-ignore-output"]
predict(
    "text-attention-on-object.nouns",
    "Which share of the attention to a noun lies on the object that it names (mean over ten "
    "times)?",
    low=0,
    high=100,
    unit="%",
)

# %%
rng = seeded(6)
pairs = scenes.sample(40, rng, ("pair",))
layout = shapes.layout(pairs, rng)
real, sentences = shapes.paint(pairs, layout), captions.describe(pairs)
cover = torch.zeros(40, 2, 16, 16)
for (b, k), mask in shapes.masks(pairs, layout, side=16):
    cover[b, k] = mask
first = torch.tensor([2, 3, 4]).expand(40, 3)  # size, colour, noun of the first object
last = torch.tensor([[len(s.split()) - i for i in (2, 1, 0)] for s in sentences])
TIMES = range(50, 1000, 100)


def shares(model):
    """Own and other object's share of the attention, in percent: (2, times, pictures, 3)."""
    found, rng = [], seeded(7)
    for t in TIMES:
        noisy = model.process.add_noise(real, t, randn_like(real, rng))
        maps = cross_attention_maps(model.given(sentences), noisy, t)
        on = lambda words, k, maps=maps: my_attention_share(maps, words, cover[:, k])
        own, other = on(first, 0) + on(last, 1), on(first, 1) + on(last, 0)
        found.append(100 * torch.stack([own, other]) / 2)
    return torch.stack(found, 1)


trained, untrained = shares(network), shares(text2shape_network())
fig, axes = plt.subplots(1, 2, figsize=(11.5, 4.6), sharey=True)
for ax, values, title in zip(axes, trained, ("its own object", "the other object")):
    for i, name in enumerate(("size", "colour", "noun")):
        each = [estimate(v, "pictures") for v in values[..., i]]
        style = dict(color=(ORANGE, RED, BLUE)[i], fmt="sDo"[i] + "-", ms=8, capsize=4)
        ax.errorbar(
            TIMES, [e.mean for e in each], [e.margin for e in each], **style, label=name
        )
    ax.axhline(100 * cover.mean(), color="black", ls=":", label="area of an object")
    ax.set(title=f"Attention on {title}", xlabel="time t (noise grows)")
axes[0].set(ylabel="share of a word's attention, %", ylim=(0, None))
axes[1].legend()
plots.show(
    fig,
    alt="Two line plots over time t. On its own object: the share of the attention to a "
    "colour falls from about 55 % at small t to 16 % at t = 950, to a size it rises "
    "from 5 to 21 %, to a noun it is 6 to 9 %; a dotted line at 5.4 % is the area of an "
    "object. On the other object: all are below 1 %.",
)


# %%
def own_and_other(values, word):
    """The mean over all times, own beside other, over the pictures."""
    return compare(*values[..., word].mean(1), runs="pictures")


colour, noun = (own_and_other(trained, word) for word in (1, 2))
claim(
    "text-attention-on-object",
    "More of the attention to a colour, and to a noun, lies on the object that the word "
    "describes than on the other (mean over ten times from 50 to 950).",
    figures=dict(colours=colour, nouns=noun),
    measured="own beside other object: colour {colours:.1f} %, noun {nouns:.1f} %",
    holds=lambda colours, nouns: all_of(colours.higher, nouns.higher),
    null={
        "the untrained network": dict(
            colours=own_and_other(untrained, 1), nouns=own_and_other(untrained, 2)
        )
    },
)

# %% [markdown]
# Of the attention on the two objects nearly all lies on the right one. But most attention to a noun lies on neither. Its share,
# {{text-attention-on-object.nouns.a}} %, is little more than the area of an object, 5.4 %. So a map is no outline. Nor is it
# the map of a meaning. After two layers of self-attention the vector at "circle" can contain "red", and the vector at "red" can
# contain "circle". And the start token's vector brings the whole caption to every place through the time embedding, past all
# maps. So a small share of the noun does not show that its shape is unused. Below $t = 600$ colours have the largest share on
# their object, above $t = 800$ sizes. (Hertz et al. 2022 edit pictures by changing such maps: *Prompt-to-Prompt*.)
#
# ## Why does the order of the words matter?
#
# "A red star left of a blue square" and "a blue star left of a red square" hold the same words. Attention itself does not
# depend on their order (the check of exercise 1 tests that). Vaswani et al. (2017, section 3.5) give this as the reason for
# position vectors.
#
# To measure what they are worth, we train a small network twice: with position vectors, and with zeros in their place. All else
# is equal: U-Net, plain captions of two objects of different colours, batches, noises, 1,000 steps; three trainings each. In
# the pictures that have both colours, how often is each colour at the right place?
# `python tests/benchmarks/text_positions.py` takes ten minutes of one core.

# %% tags=["nbval-ignore-output"]
predict(
    "text-order-of-words.without",
    "Trained without position vectors: of the pictures with both colours, in how many are "
    "they at the right places?",
    low=40,
    high=100,
    unit="%",
)

# %% [markdown]
# In the shipped network we can exchange the position vectors of the two colour words in each caption, and change nothing else.
# If the order decides, the two colours exchange places in the picture. As a control we exchange those of the two *size* words.
# Chance is one half: the claim asks for more than that with positions, and for more exchanged pictures.

# %%
some = scenes.sample(200, seeded(7), ("pair",))
some = some[(some.relation == 0) & (some.colour[:, 0] != some.colour[:, 1])][:16]
noise16 = network.draw_noise(16, seeded(1))
exchanged, made = {}, {}
for words, places in {"colour": [3, 9], "size": [2, 8]}.items():
    net = copy.deepcopy(network.net)
    net.text.position[places] = net.text.position[places[::-1]]
    made[words] = generate(replace(network, net=net), captions.describe(some), noise16)
    seen = evaluator.detect(made[words])
    turned = (seen.colour[:, :2] == some.colour[:, :2].flip(1)).all(1)
    exchanged[words] = share(turned, "pictures")
fig, axes = plt.subplots(1, 2, figsize=(11.5, 2.4))
for ax, (words, x) in zip(axes, made.items()):
    plots.pictures(x[:12], columns=6, ax=ax, title=f"positions of the {words} words exchanged")
print("\n".join(captions.describe(some[:3])))
plots.show(
    fig,
    alt="Two panels of twelve generated pictures of two shapes. Left: each shape has the "
    "colour that the caption gives to the other one. Right: the colours are as in the "
    "captions, and the sizes are exchanged.",
)

# %%
trainings = figures.load("text_positions").sort_values("seed", kind="stable")
of = lambda arm, name: 100 * figures.values(trainings, name, arm=arm)
blind = estimate(of("without", "placed"))
claim(
    "text-order-of-words",
    "Which colour goes where is decided by the order of the words. Small networks trained "
    "without position vectors put colours at their places less often, and in the shipped "
    "network exchanged positions exchange the colours.",
    figures=dict(
        placed=compare(of("with", "placed"), of("without", "placed")),
        ordered=estimate(of("with", "placed")),
        without=blind,
        exchanged=exchanged["colour"],
        both=compare(of("with", "colour"), of("without", "colour")),
    ),
    measured="at the right places {ordered:.0f} %, without positions {without:.0f} %; "
    "exchanged {exchanged:.0%}; both colours in {both:.0f} % of all pictures",
    holds=lambda placed, ordered, exchanged: all_of(
        placed.higher, ordered.above(50), exchanged.above(0.5)
    ),
    null={
        "trained without positions": dict(ordered=blind),
        "positions of the size words": dict(exchanged=exchanged["size"]),
    },
)

# %% [markdown]
# So without position vectors the places of the colours are chance: {{text-order-of-words.without}} %. It could not be
# otherwise: without them "A left of B" and "B left of A" are the same input. Two things could have failed: that 1,000 steps are
# enough to learn the order with them, and that the shipped network follows it.
#
# Whether position vectors also help to get both colours at all ({{text-order-of-words.both}} %), three trainings cannot tell.
# After 1,000 steps the outlines are still blurred, so nothing is said about shapes. Exchanging two position vectors is the
# same as exchanging two words, since the encoder treats all else as a set.
#
# ## Failure museum
#
# Three mistakes in cross-attention that raise no error, in the trained network, with the same noises as above: padding is not
# masked; all channels form one head; the softmax runs over the places, so that the weights of the *places* sum to 1.


# %%
def unmasked(picture, text, mask, *rest):
    return my_cross_attention(picture, text, torch.ones_like(mask), *rest)


def one_head(*inputs):
    return my_cross_attention(*inputs[:-1], 1)


mistaken = "the softmax runs over the places; the weights of the words must sum to 1"
over_places = check.cross_attention.mistaken(mistaken)[1]
rows = {"right": by_mine}
for name, attend in {
    "no mask": unmasked,
    "one head": one_head,
    "over places": over_places,
}.items():
    rows[name] = generate(with_attention(network, attend))
    print(f"{name}: {check.cross_attention(attend).diagnosis}")
for name, x in rows.items():
    right = scenes.matches(evaluator.detect(x), wanted)["all"][0]
    print(f"{name:11} {int(right.sum())} of 8 right")
plots.show(
    plots.pictures(torch.cat(list(rows.values())), columns=8, rows=rows, scale=0.044),
    alt="Four rows of eight generated pictures. Right: two objects each, as the captions "
    "say. No mask: the same objects, some in duller or tinted colours, one triangle in two "
    "colours. One head: the same, one star is missing and two squares are shifted or smaller. "
    "Over places: blurred objects, most of them white, none as the caption says.",
)

# %% [markdown]
# The last mistake spoils every picture. Each of the other two spoils one of eight for the detector; beside the row above,
# colours (no mask) and places (one head) also change in pictures that still count as right. Such a picture looks like an
# ordinary error; only that these are rare at $w = 3$ (0.2 % of known pairs) speaks against it. The check compares numbers, and
# finds all three. (Eight pictures, no claim.)
#
# ## What you saw
#
# - A caption becomes a row of vectors. In cross-attention each place of the picture is a query; keys and values are words.
# - The encoder writes the plain form of captions with new objects in {{text-new-forms.objects}} %. On average over
#   three new forms of sentence it is right less often: {{text-new-forms.right}} %. (Optional part.)
# - One training of `text2shape` draws something wrong in {{text-guidance.missed}} % of known pairs at $w = 1$. With $w = 3$
#   beside $w = 1$ it is {{text-guidance.guided}} %.
# - At $w = 3$ new pairs ({{text-new-objects.pairs.a}} % wrong) and pairs of new objects ({{text-new-objects.objects.a}} %) are
#   within five points of known pairs. Numbers ({{text-wrong.numbers.a}} % wrong) and two of three new forms of sentence fail
#   more often.
# - Of the attention to a noun {{text-attention-on-object.nouns.a}} % lies on its own object and
#   {{text-attention-on-object.nouns.b}} % on the other; most lies on neither. (Optional part.)
# - Without position vectors, colours are at the right places in {{text-order-of-words.without}} %: chance.
#
# ## At full size
#
# Stable Diffusion 1 has a frozen CLIP text encoder (lesson 10) of 123 million parameters, beside a U-Net of 860 million.
# GLIDE's text transformer has 1.2 billion, its model at 64 × 64 another 2.3 billion; the words' vectors join the keys and
# values of self-attention. Imagen's encoder is a frozen T5 (lesson 13). Colours at the wrong object are a known fault of
# Stable Diffusion (Chefer et al. 2023).

# %% tags=["nbval-ignore-output"]
guesses(
    "text-new-forms.inverted",
    "text-guidance.missed",
    "text-wrong.numbers",
    "text-attention-on-object.nouns",
    "text-order-of-words.without",
)

# %% [markdown]
# ## Think about it
#
# 1. Suppose that the text encoder had position vectors but no self-attention: each word's vector depends on the word and its
#    position alone. Could the network still bind colours?
#
# <details><summary>Answer</summary>
#
# In plain captions of one form it could. "Red" at position 3 then always belongs to the first object, and the U-Net can learn
# that. With several forms and lengths the same position belongs to different objects. What "red" belongs to then depends on
# other words. The U-Net would have to combine them itself, over several cross-attention layers. (An argument, not a
# measurement.)
#
# </details>
#
# 2. Stable Diffusion's U-Net gets no mask: padding takes part in its cross-attention. Why can that work there, when it is a
#    mistake here?
#
# <details><summary>Answer</summary>
#
# Its network was trained like that. So it learned keys and values of padding that do no harm, or are even useful. The mistake
# is a difference between training and sampling, not padding itself.
#
# </details>
#
# ## Words
#
# - **new objects**: objects whose colour and shape never occur together in training.
# - **new pairs**: pairs of objects that never occur together in training.
# - **detector**: a network that finds the objects of a picture and their attributes.
# - **binding**: which attribute belongs to which object.
# - **tokenizer**: the rule that splits a text into tokens and numbers them.
# - **token**: a piece of text with a number of its own; here a word.
# - **padding**: tokens without meaning that make all captions equally long.
# - **empty caption**: a start token and padding alone; the null condition of text.
# - **text encoder**: a network from tokens to vectors, one for each token.
# - **position vector**: a learned vector for each place in the caption, added to that of the word.
# - **plain form**: the caption of a scene without synonyms, in one fixed form.
# - **span corruption**: T5's training task: stretches of a text are removed and predicted.
# - **cross-attention**: attention whose queries come from one source (places) and its keys and values from another (words).
# - **multi-head attention**: attention in several parts of the channels side by side, each with a softmax of its own.
# - **mask**: which keys take part in attention; here False for padding.
# - **text dropout**: replacing captions by the empty caption at random in training.
#
# Used again: attention weights (lesson 04), self-attention (lesson 04), classifier-free
# guidance (lesson 08), null model (lesson 01).
#
# ## In practice
#
# ```python
# import torch
# from diffusers import UNet2DConditionModel
# down, up = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
# unet = UNet2DConditionModel(16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(32, 32),
#     norm_num_groups=8, cross_attention_dim=24, attention_head_dim=4, down_block_types=down, up_block_types=up)
# x, words, mask = torch.randn(2, 3, 16, 16), torch.randn(2, 20, 24), torch.arange(20).expand(2, -1) < 12
# run = lambda words: unet(x, 500, encoder_hidden_states=words, encoder_attention_mask=mask).sample
# padded = words.clone()
# padded[:, 12:] += 5  # other vectors for the padding
# with torch.no_grad():
#     assert torch.allclose(run(words), run(padded), atol=1e-5) and run(words).shape == x.shape
# ```
#
# {{names}}
#
# | our name | diffusers' name |
# |---|---|
# | `words`, the encoder's output | `encoder_hidden_states`, or `prompt_embeds` in a pipeline |
# | `mask` | `encoder_attention_mask`; `StableDiffusionPipeline` gives its U-Net none |
# | `CrossAttention` | `Attention` (`attn2` of a `BasicTransformerBlock`) |
# | your function in our layers | an attention processor, `unet.set_attn_processor` |
#
# ## Next
#
# [Lesson 10](10_clip.ipynb) trains pictures and captions into one space, CLIP, and guides with it.
