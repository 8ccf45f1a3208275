"""Texts that tokenizers get wrong: scripts, invisible characters, odd spaces, special tokens in the text."""

TEXTS = [
    "",
    " ",
    "Hello world, it's a test.",
    "don't won't I'm he's we've they're  n't 's",
    "UPPER lower MiXeD Ünïcödé naïve café Straße İstanbul ǅ",
    "北京大学的学生在图书馆看书。",
    "中文 and English 混合 123，全角ＡＢＣ１２３！？",
    "日本語のテキスト、ｶﾀｶﾅ ひらがな 漢字",
    "한국어 텍스트 각각",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
    "العربية مع التشكيلُ والأرقام ١٢٣",
    "עברית עם ניקוד שָׁלוֹם",
    "हिन्दी क्षत्रिय देवनागरी १२३",
    "Русский текст с ёлкой и й",
    "👩‍👩‍👧‍👦 family, 👍🏽 skin, 🇩🇪🇯🇵 flags, ❤️ heart",
    "e\u0301 a\u0308\u0323 Z\u0351\u036b\u0343\u036a combining",
    "a\u0000b\u0001c\u0007d\u001be\u007ff\ufffdg\ufeffh",
    "zero\u200bwidth\u200cnon\u200djoin\u2060er soft\u00adhyphen",
    "tabs\tand\nnew\r\nlines\rand \x0b\x0c\u0085\u2028\u2029 others",
    "  leading, double  inside   and trailing  ",
    "nb\u00a0sp em\u2003sp ideo\u3000sp thin\u2009sp ogham\u1680",
    "\u202eright to left\u202c mark \u200f \u061c",
    "a,b.c!d?e;f:g(h)i[j]k{l}m<n>o/p\\q|r\"s't`u~v@w#x$y%z^&*-_=+",
    "http://example.org/a_b?c=d&e=%20f#g user@example.org #tag @name",
    "1,000,000.50 2000, 3.14e-10 0x1F ½ ² ⅷ ①",
    "ﬁ ﬂ ﷺ ㍿ ℌ ａ ½ ™ …",
    "``quoted'' 'single' “curly” «guillemets» 「corner」",
    "[CLS] in [SEP] the [MASK] text [PAD] [UNK]",
    "<s> in </s> the <mask> text <pad> <unk> <|endoftext|> <extra_id_0>",
    "a<mask>b [MASK]c  [MASK]  d",
    "▁already ▁escaped ▁▁ text",
    "##word ## #a Ġtoken Ċ",
    "\U0001d54f\U0001d556 math \U00020000 ext-b \ue000 private \U0010ffff last",
    "x" * 300,
    "word " * 60,
]

PAIRS = [
    ("What is it?", "It is a test of pairs, and this one is a good deal longer than the question."),
    ("", "an empty first text"),
    ("北京", "北京 is the capital 👍🏽"),
    ("a longer first text than the second one, by far, and then some more words", "short"),
    ("  spaces  ", "\ttabs\n"),
]

WORDS = [
    ["Hello", "world", "don't"],
    ["", "empty", " ", "words"],
    ["北京", "is", "大"],
    ["unbelievable", "👩‍👩‍👧‍👦", "naïve"],
]
