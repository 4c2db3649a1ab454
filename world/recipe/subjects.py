"""Which concepts the world holds: the base's own subjects and the eight held-out packs.

Names are CLDR short names (emojibase ``label``). The base draws things and animals with a shape of their own. Faces,
hands, people in their many variants, flags, letters and buttons are left out: at 64 pixels they differ by a few pixels.
"""

from __future__ import annotations

PACKS: dict[str, tuple[str, ...]] = {
    "sea-life": (
        "octopus", "crab", "lobster", "dolphin", "spouting whale", "shark",
        "turtle", "tropical fish", "jellyfish", "squid", "shrimp", "blowfish",
    ),
    "fruit": (
        "banana", "pineapple", "strawberry", "watermelon", "grapes", "cherries",
        "lemon", "red apple", "pear", "peach", "kiwi fruit", "coconut",
    ),
    "vehicles": (
        "bus", "taxi", "ambulance", "fire engine", "tractor", "bicycle",
        "helicopter", "locomotive", "racing car", "motorcycle", "pickup truck", "sailboat",
    ),
    "music": (
        "guitar", "violin", "trumpet", "saxophone", "drum", "accordion",
        "banjo", "musical keyboard", "headphone", "radio", "maracas", "microphone",
    ),
    "birds": (
        "owl", "penguin", "eagle", "flamingo", "peacock", "parrot",
        "duck", "rooster", "swan", "dove", "turkey", "goose",
    ),
    "bugs": (
        "butterfly", "honeybee", "lady beetle", "snail", "ant", "spider",
        "scorpion", "beetle", "cricket", "mosquito", "fly", "worm",
    ),
    "sweets": (
        "doughnut", "ice cream", "birthday cake", "cupcake", "lollipop", "cookie",
        "candy", "chocolate bar", "pie", "custard", "honey pot", "shortcake",
    ),
    "sports": (
        "soccer ball", "basketball", "baseball", "tennis", "american football", "bowling",
        "volleyball", "badminton", "boxing glove", "ice skate", "kite", "yo-yo",
    ),
}  # fmt: skip

BASE: tuple[str, ...] = (
    # animals
    "gorilla", "orangutan", "dog", "poodle", "wolf", "fox", "raccoon", "cat", "black cat", "lion", "tiger",
    "leopard", "moose", "donkey", "horse", "unicorn", "zebra", "deer", "bison", "cow", "pig", "boar", "ram", "goat",
    "camel", "llama", "giraffe", "elephant", "mammoth", "rhinoceros", "hippopotamus", "mouse", "rat", "hamster",
    "rabbit", "chipmunk", "beaver", "hedgehog", "bat", "bear", "polar bear", "koala", "panda", "sloth", "otter",
    "skunk", "kangaroo", "badger", "frog", "crocodile", "lizard", "snake", "dragon", "sauropod", "T-Rex",
    "baby chick", "seal", "spiral shell", "coral",
    # plants
    "bouquet", "cherry blossom", "rose", "hibiscus", "sunflower", "tulip", "hyacinth", "seedling", "potted plant",
    "evergreen tree", "deciduous tree", "palm tree", "cactus", "four leaf clover", "maple leaf", "fallen leaf",
    "mushroom",
    # food and drink
    "tomato", "avocado", "eggplant", "potato", "carrot", "ear of corn", "hot pepper", "bell pepper", "cucumber",
    "broccoli", "garlic", "onion", "peanuts", "chestnut", "bread", "croissant", "pretzel", "pancakes", "waffle",
    "cheese wedge", "meat on bone", "bacon", "hamburger", "french fries", "pizza", "hot dog", "sandwich", "taco",
    "burrito", "cooking", "pot of food", "popcorn", "rice ball", "sushi", "fried shrimp", "takeout box",
    "glass of milk", "hot beverage", "teapot", "wine glass", "cocktail glass", "tropical drink", "beer mug",
    "cup with straw", "bubble tea", "fork and knife", "amphora",
    # places and vehicles that no pack holds
    "snow-capped mountain", "volcano", "desert island", "stadium", "classical building", "hut", "house", "hospital",
    "factory", "castle", "church", "mosque", "tent", "ferris wheel", "circus tent", "barber pole", "rocket",
    "flying saucer", "satellite", "canoe", "anchor", "ring buoy", "parachute", "skateboard", "roller skate",
    "fuel pump", "vertical traffic light", "stop sign",
    # sky and weather
    "full moon", "crescent moon", "sun", "ringed planet", "star", "shooting star", "cloud",
    "cloud with lightning and rain", "tornado", "rainbow", "umbrella", "high voltage", "snowflake", "snowman",
    "comet", "fire", "droplet",
    # occasions, medals and games
    "jack-o-lantern", "Christmas tree", "firecracker", "balloon", "party popper", "wrapped gift", "ribbon", "trophy",
    "1st place medal", "sports medal", "bullseye", "crystal ball", "magic wand", "video game", "slot machine",
    "game die", "puzzle piece", "teddy bear", "mirror ball", "nesting dolls", "chess pawn", "artist palette", "yarn",
    # things
    "glasses", "sunglasses", "necktie", "t-shirt", "jeans", "scarf", "gloves", "coat", "socks", "dress", "kimono",
    "bikini", "handbag", "backpack", "running shoe", "high-heeled shoe", "crown", "top hat", "graduation cap",
    "billed cap", "lipstick", "ring", "gem stone", "megaphone", "bell", "telephone", "mobile phone", "laptop",
    "printer", "computer mouse", "floppy disk", "abacus", "movie camera", "television", "camera", "candle",
    "light bulb", "flashlight", "red paper lantern", "open book", "books", "scroll", "newspaper", "coin", "money bag",
    "envelope", "package", "postbox", "pencil", "paintbrush", "crayon", "briefcase", "calendar", "pushpin",
    "scissors", "wastebasket", "locked", "key", "hammer", "axe", "dagger", "bomb", "boomerang", "bow and arrow",
    "shield", "wrench", "screwdriver", "gear", "magnet", "ladder", "hook", "toolbox", "test tube", "microscope",
    "telescope", "syringe", "pill", "stethoscope", "door", "bed", "chair", "toilet", "bathtub", "mouse trap",
    "broom", "basket", "bucket", "soap", "toothbrush", "fire extinguisher", "shopping cart", "hourglass done",
    "watch", "alarm clock", "moai", "red heart", "broken heart", "brain", "bone", "tooth", "ghost", "alien", "robot",
    "skull", "clown face", "ogre",
)  # fmt: skip

COLORS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "red": (214, 48, 49),
    "orange": (240, 140, 40),
    "yellow": (250, 214, 70),
    "green": (60, 160, 80),
    "blue": (52, 110, 205),
    "purple": (126, 72, 176),
    "pink": (246, 160, 190),
    "grey": (150, 150, 155),
    "black": (18, 18, 20),
}
