"""Which token comes next."""

from __future__ import annotations

from trunkline.models.heads.masked_language import MaskedLanguage
from trunkline.registry import HEADS


@HEADS.register("causal_language")
class CausalLanguage(MaskedLanguage):
    """Affine map, GELU and layer norm at the tokens that have a next one, then logits over the vocabulary [K, V].

    Rows look back only. The output matrix is the head's own, as masked_language's is. Nearly every token is a target, so logits
    take tokens_per_pass * V * 4 bytes; a small vocabulary, or fewer tokens per pass, keeps them affordable.
    """
