"""Word lists by which `atoms` tells what a word of a prompt is for; plain English, lower case."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for phrase in text.split(","))


DETERMINERS = _words("single a an the some this that these those his her its their my your our another each every")
VAGUE = _words("several many few dozens hundreds countless")
NUMBERS = {
    **{w: w for w in _words("two three four five six seven eight nine ten eleven twelve twenty")},
    **{w: w for w in VAGUE},
    "both": "two",
    "dozen": "twelve",
}
"""Words that count -> the count as it is asked for."""
GROUPS = {"pair": "two", "couple": "two", "trio": "three", "dozen": "twelve", "dozens": "many"}
"""What counts with "of": "a pair of shoes"."""
_IN_ORDER = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
ALSO_NUMBERS = {str(n): w for n, w in enumerate(_IN_ORDER, 2)}

ADJECTIVES = _words(
    "red orange yellow green blue purple violet pink brown black white grey gray golden gold silver bronze "
    "turquoise teal cyan magenta crimson scarlet beige cream ivory navy lavender maroon emerald ruby amber pastel "
    "neon blonde blond ginger brunette colorful colourful rainbow black-and-white dark light bright pale vivid "
    "big large huge giant small tiny little tall short long wide narrow thin thick fat slim chubby round square "
    "old young ancient modern new vintage antique medieval futuristic elderly wooden metal metallic stone brick "
    "glass crystal marble iron steel copper leather silk velvet paper plastic knitted furry fluffy hairy smooth "
    "rough shiny glossy matte rusty dusty dirty clean wet dry frozen icy snowy rainy foggy misty cloudy sunny "
    "stormy sandy rocky mossy muddy grassy happy sad angry smiling sleepy cute pretty beautiful handsome ugly "
    "scary spooky friendly fierce lonely calm quiet busy crowded empty open closed broken abandoned ruined cozy "
    "cosy rustic striped spotted checkered plaid patterned transparent translucent glowing floating flying "
    "sleeping burning magical mystical enchanted haunted royal elegant fancy simple plain bare naked hot cold "
    "warm cool fresh ripe sweet soft hard sharp curly straight messy wild stray mechanical robotic electric "
    "tropical lush dense deep shallow high low steep winding curved bearded bald armored armoured hooded masked "
    "quick slow lazy hungry brave shy wise evil kind rich poor sleek slender muscular strong weak heavy majestic "
    "ornate rugged serene tranquil tangled blurry shining smiling laughing crying dancing jumping swimming "
    "blooming sparkling shimmering melting bubbling steaming smoking rising falling setting roaring steel-blue "
    "snow-covered snow-capped well-dressed"
)
MATERIALS = _words(
    "wooden metal metallic stone brick glass crystal marble iron steel copper leather silk velvet paper plastic "
    "gold silver bronze orange rose pink turquoise ruby emerald ivory cream stray ruins light dark"
)
"""Words for what a thing is like that may be a thing themselves, when they stand alone."""
BODY = _words(
    "hair eyes eye skin beard moustache mustache smile face ears ear tail wings wing horns fur freckles lips "
    "teeth nose hands hand arms legs ponytail braid braids bangs twintails eyelashes eyebrows makeup tattoo "
    "tattoos scar muscles"
)
"""Parts of somebody who was named before: "a girl, silver hair"."""
POSITIONS = _words(
    "corner center centre middle left right top bottom front foreground side distance viewer camera background backdrop"
)
"""Where in the picture; nothing to be seen by itself."""
INTENSIFIERS = _words(
    "very really extremely quite so super too incredibly slightly rather highly ultra exactly precisely"
)

MEDIA = _words(
    "photo photograph photography picture image painting watercolor watercolour drawing illustration sketch "
    "render rendering artwork art portrait poster print cartoon comic mosaic fresco mural collage engraving "
    "etching woodcut linocut lithograph icon logo sticker origami embroidery tapestry "
    "doodle screenshot polaroid selfie diagram blueprint infographic caricature manga anime pixelart fanart "
    "wallpaper still shot view"
)
"""Heads of phrases that say how the picture was made ("an oil painting of …")."""
EMPTY_MEDIA = _words("picture image artwork art wallpaper shot view print still")
"""Those that say nothing when they stand alone."""
VIEWS = _phrases(
    "close-up, closeup, close up, macro shot, wide shot, wide angle shot, aerial view, bird's eye view, top view, "
    "top-down view, side view, front view, low angle shot, high angle shot, full body shot, full-body shot, full "
    "body, headshot, head shot, macro, panorama, long shot, medium shot, cowboy shot, upper body, from above, "
    "from below, from behind, from the side, side profile, profile view, rear view, back view, overhead shot, "
    "overhead view, macro lens, wide angle lens, wide-angle lens, telephoto lens, fisheye lens, depth of field, "
    "shallow depth of field"
)
STYLES = _phrases(
    "anime, manga, watercolor, watercolour, cyberpunk, steampunk, vaporwave, synthwave, photorealistic, "
    "photorealism, realistic, realism, hyperrealistic, hyperrealism, surrealism, surreal, minimalist, minimalism, "
    "vector, isometric, low poly, low-poly, lowpoly, pixel art, pixelart, ukiyo-e, impressionism, impressionist, "
    "cubism, cubist, baroque, rococo, gothic, art deco, art nouveau, pop art, line art, lineart, flat design, "
    "concept art, digital art, fantasy, sci-fi, science fiction, noir, film noir, monochrome, black and white, "
    "sepia, grayscale, greyscale, retro, vintage, abstract, cartoon, comic book, comic, chibi, claymation, stop "
    "motion, papercut, paper cut, origami, stained glass, oil, oils, acrylic, acrylics, charcoal, pencil, crayon, "
    "ink, pastel, pastels, gouache, cross-stitch, mosaic, graffiti, doodle, expressionism, fauvism, pointillism, "
    "brutalism, bauhaus, psychedelic, kawaii, analog film, film grain, lomography, polaroid, double exposure, "
    "glitch art, voxel, 3d, 3d render, cel shading, cel shaded"
)
TIMES = _phrases(
    "night, day, daytime, nighttime, dawn, dusk, sunrise, sunset, noon, midday, midnight, twilight, golden hour, "
    "blue hour, morning, evening, afternoon, winter, summer, autumn, spring, fall, christmas, halloween, rain, "
    "snow, fog, mist, storm, dark, darkness, moonlight, sunlight, starlight, daylight"
)
PLACES = _words(
    "beach forest woods jungle desert city town village street road alley highway mountain mountains hill hills "
    "valley canyon cave field fields meadow garden park farm orchard vineyard lake river sea ocean pond pool "
    "waterfall island shore coast harbor harbour port sky space clouds moon mars planet galaxy underwater room "
    "kitchen bedroom bathroom office library school classroom church cathedral castle temple palace museum "
    "gallery shop store market cafe café restaurant bar pub hospital station airport factory warehouse laboratory "
    "lab studio stage stadium gym theater theatre ruins swamp marsh savanna savannah prairie tundra glacier "
    "countryside landscape cityscape skyline seaside backyard yard playground courtyard balcony rooftop attic "
    "basement hallway corridor dungeon snow rain night tokyo paris london york venice"
)
"""Where things are rather than what is beside them: heads of backgrounds."""
COMPOUNDS = _phrases(
    "hot air balloon, polar bear, brown bear, black bear, red panda, hot dog, golden retriever, black hole, "
    "white wine, red wine, stained glass, crystal ball, paper boat, paper plane, glass bottle, wild boar, green tea, "
    "soft drink, open book, red cross, red carpet, black belt, snow leopard, wild flower, stone age, steel drum"
)
"""Names of things that begin with what looks like a word about them."""
STYLES_IN_FRONT = _phrases(
    "pixel art, pixelart, low poly, low-poly, anime, manga, cyberpunk, steampunk, isometric, watercolor, watercolour, "
    "cartoon, voxel, origami, chibi, 3d, vector, claymation, ukiyo-e, art deco, art nouveau, vaporwave, photorealistic"
)
"""Styles that stand in front of the thing: "a pixel art castle"."""
LIGHT = _words("light lighting lights backlight backlighting shadows glow bokeh sunlight moonlight candlelight rays")

GARMENTS = _words(
    "dress suit tuxedo shirt t-shirt jacket coat uniform gown kimono armor armour robe robes sweater hoodie blouse "
    "costume swimsuit bikini pajamas pyjamas jeans skirt toga sari spacesuit raincoat overalls jersey outfit clothes "
    "clothing attire"
)
"""What somebody is in who wears it: "a man in a suit"."""

QUALITY = _phrases(
    "masterpiece, best quality, high quality, highest quality, good quality, amazing quality, top quality, highly "
    "detailed, ultra detailed, extremely detailed, detailed, intricate, intricate details, intricate detail, fine "
    "details, high detail, 4k, 8k, 16k, uhd, hd, hdr, full hd, ultra hd, high resolution, highres, absurdres, "
    "hires, hi-res, sharp focus, sharp, in focus, award winning, award-winning, trending on artstation, "
    "artstation, professional, stunning, gorgeous, beautiful, breathtaking, epic, perfect, amazing, aesthetic, "
    "very aesthetic, newest, score_9, score_8_up, score_7_up, raw photo, octane render, unreal engine, unreal "
    "engine 5, ray tracing, best, dslr, sfw, safe, rating_safe, very detailed, cinematic composition, "
    "solo"
)
"""What nobody can see in an image by itself: asked for and not judged."""
PRONOUNS = _words("it them him he she they itself himself herself themselves one someone somebody something everything")
FILLER = (
    _words(
        "please just maybe perhaps also and or of in on at with by to for from as is are was were be being been there "
        "it that which who has have having while where i i'd like want would can could you me us draw paint generate "
        "create make show render give need image picture one single showing depicting featuring no without not any "
        "nicely very wearing dressed says say saying reads words word text letters caption inscription titled "
        "labelled labeled spelling shows depicts features portrays scene group"
    )
    | DETERMINERS
    | PRONOUNS
)
NOT_VERBS = _words(
    "building king ring wing string painting drawing ceiling morning evening spring wedding clothing lightning "
    "lighting thing something nothing anything everything viking sibling darling duckling dumpling pudding "
    "earring swing sling railing sting wing clearing crossing engraving etching rendering photography living "
    "dining parking shopping sterling starling inkling offspring king-size bling ping"
)
PRESENT = {
    **{v: v[:-1] + "ing" for v in _words("eats sleeps stands jumps looks plays holds wears reads walks climbs")},
    **{"sits": "sitting", "runs": "running", "rides": "riding", "swims": "swimming", "drives": "driving"},
    **{
        "dances": "dancing",
        "sings": "singing",
        "chases": "chasing",
        "lies": "lying",
        "hugs": "hugging",
        "flies": "flying",
    },
}
"""Verbs of the third person -> as they are asked for."""
IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "kids": "kid",
    "mice": "mouse",
    "geese": "goose",
    "wolves": "wolf",
    "leaves": "leaf",
    "knives": "knife",
    "feet": "foot",
    "teeth": "tooth",
    "elves": "elf",
    "dwarves": "dwarf",
    "loaves": "loaf",
    "shelves": "shelf",
    "snowmen": "snowman",
    "policemen": "policeman",
    "firemen": "fireman",
    "oxen": "ox",
    "cacti": "cactus",
    "octopi": "octopus",
    "movies": "movie",
    "cookies": "cookie",
    "zombies": "zombie",
    "pies": "pie",
    "ties": "tie",
    "shoes": "shoe",
    "canoes": "canoe",
    "toes": "toe",
    "horseshoes": "horseshoe",
}
UNCOUNTED = _words(
    "glass grass moss dress princess cactus octopus platypus walrus hippopotamus bus lotus hibiscus circus class "
    "boss cross fortress compass chess mattress lens gas iris canvas atlas christmas pegasus species series jeans "
    "pants trousers shorts scissors glasses sunglasses goggles headphones binoculars clothes news stairs ruins "
    "woods clouds mountains fries noodles tennis paris mars venus swiss chaos rhinoceros triceratops "
    "tyrannosaurus albatross business wilderness process mass asparagus bass texas las vegas lights eyes wings "
    "waves flames reflections bubbles leaves bangs freckles"
)
"""Words that end in s and are no plural, or are one that is asked for as it is."""
PREPOSITIONS = (
    *("left of", "right of", "to the left side of", "to the right side of", "on the left side of"),
    *("on the right side of", "opposite", "in the shape of", "shaped like"),
    *("instead of", "rather than"),
    *("in front of", "on top of", "next to", "close to", "in the middle of", "inside of", "on the back of"),
    *("on the left of", "on the right of", "to the left of", "to the right of", "in between", "made of", "made from"),
    *("made out of", "full of", "filled with", "covered in", "covered with", "surrounded by", "dressed as"),
    *("dressed in", "that is", "that are", "who is", "who are", "which is", "which are", "there is", "there are"),
    *("in the style of", "standing in front of", "on", "in", "at", "under", "underneath", "over", "above", "below"),
    *("beneath", "behind", "beside", "besides", "near", "by", "inside", "into", "onto", "between", "among", "amongst"),
    *("around", "against", "through", "across", "along", "from", "without", "with", "and", "&", "plus", "wearing"),
    *("holding", "has", "have", "having", "is", "are", "to", "as", "like", "while", "for", "toward", "towards"),
)
"""What stands between two things; the longest is taken first."""
