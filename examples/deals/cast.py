"""Who sells what to whom in the sample deals. Every person, company and product here is made up."""

from typing import NamedTuple


class Product(NamedTuple):
    """Something on our price list."""

    name: str
    series: str
    list_price: int


class Sector(NamedTuple):
    """What people in one line of work talk about."""

    name: str
    floor: str
    things: str
    system: str
    peak: str
    pains: tuple[str, ...]
    metrics: tuple[str, ...]


SELLER = "Tillerwick"
DOMAIN = "tillerwick.example"

PRODUCTS = (
    Product("Foreman Starter", "Foreman", 9_600),
    Product("Foreman Pro", "Foreman", 28_000),
    Product("Foreman Enterprise", "Foreman", 96_000),
    Product("Yardmaster", "Yardmaster", 42_000),
    Product("Yardmaster Plus", "Yardmaster", 74_000),
    Product("Pulse Kit", "Pulse", 18_500),
    Product("Pulse Line", "Pulse", 55_000),
)

TEAMS = {  # manager: (region, owners)
    "Greta Solvang-Pike": ("North", ("Odalys Fernwhistle", "Bram Tuckerlow", "Kwame Hollowbrook")),
    "Dario Winterbourne": ("Central", ("Ines Marrowby", "Teodor Quickset", "Mirela Doss-Tarrant")),
    "Aoife Larksworth": ("South", ("Saffi Underhollow", "Jonah Peverknap")),
}
ENGINEERS = ("Pim Vandersloot", "Tamsin Oakhanger", "Rafi Lindqvale")

COMPETITORS = ("Stackweasel", "Plannerbee", "OptiGoblin", "Yardly Cloud", "Norrflow")

FIRST_NAMES = (
    "Ada", "Bartholomew", "Celestine", "Dov", "Eilidh", "Farouk", "Gwendal", "Hesper", "Isolde", "Jaromir",
    "Kestrel", "Lorcan", "Maribel", "Nazim", "Ottoline", "Priya", "Quentin", "Rosalba", "Sunniva", "Tobiah", "Ursel",
    "Viggo", "Wilhelmina", "Xanthe", "Yusuf", "Zelda", "Anselm", "Brigid", "Caspian", "Delphine",
)  # fmt: skip
LAST_NAMES = (
    "Applecross", "Birdwhistle", "Cranmoor", "Dovetail", "Eaglestump", "Fiddlewood", "Gorsebank", "Hazelrigg",
    "Inkpen", "Jellicombe", "Kettleworth", "Lambswool", "Mudgeley", "Nightingale-Orr", "Oxbarrow", "Pebblethwaite",
    "Quince", "Rattlebone", "Saltmarsh", "Thistledown", "Umberfield", "Vellacott", "Wigglesmere", "Yarrowby",
    "Zephyrine", "Ashpole", "Buttercross", "Clinkscale", "Drumfinch", "Elderpine",
)  # fmt: skip

CHAMPION_TITLES = ("Operations Manager", "Head of Logistics", "Plant Manager", "Shift Planning Lead", "Site Director")
BUYER_TITLES = ("COO", "CFO", "Managing Director", "VP Operations", "Finance Director")
IT_TITLES = ("IT Manager", "Head of IT", "Systems Architect", "Information Security Officer")

SITES = (
    "Gullane Road", "the Marsh Lane site", "Unit 7", "the Oldham Street plant", "Northgate", "the canal warehouse",
    "Hollins Mill", "the Eastfield depot", "Building C", "Port Wetherby", "the Ringway hub", "Lower Tamber",
)  # fmt: skip

SECTORS = {
    "food": Sector(
        "food production",
        "packing hall",
        "pallets",
        "a spreadsheet that only two people dare to open",
        "the Christmas run",
        (
            "we plan three shifts on paper and find out at six in the morning who is actually here",
            "every allergen changeover costs us forty minutes because nobody sees the next order coming",
            "chilled loads wait on the dock while the paperwork is being looked for",
        ),
        (
            "about 11 hours of overtime per line and week",
            "two rejected loads a month, some 4,000 each",
            "18% agency labour where the budget says 9%",
        ),
    ),
    "bakery": Sector(
        "bakeries",
        "bakehouse",
        "trays",
        "a whiteboard and three group chats",
        "the Easter weekend",
        (
            "the night shift bakes to a forecast that was printed at noon the day before",
            "our drivers queue in the street because all of them are told five o'clock",
            "when one oven stops, the whole plan is rewritten by hand",
        ),
        (
            "6% of production goes to feed, and half of that is planning",
            "45 minutes average wait per van, every single morning",
            "around 1,300 a week in overtime we never decided on",
        ),
    ),
    "brewing": Sector(
        "beverages",
        "bottling hall",
        "kegs",
        "the old Granitebooks ERP and a lot of phone calls",
        "the festival season",
        (
            "the bottling line stops eleven times a shift and nobody writes down why",
            "empties come back whenever they come back, and block the yard",
            "we only notice that a filler is drifting when the lab calls",
        ),
        (
            "OEE of 54% on line two, if I am being generous",
            "nine trucks a day that wait for more than an hour",
            "roughly 30,000 litres a quarter down the drain",
        ),
    ),
    "logistics": Sector(
        "logistics",
        "yard",
        "trailers",
        "a shared mailbox for dock bookings",
        "Black Friday week",
        (
            "carriers turn up in waves and we pay detention for half of them",
            "nobody can tell me where a trailer is without walking the yard",
            "each customer wants its own booking form, so we type everything twice",
        ),
        (
            "detention charges of 23,000 last quarter",
            "a turn time of 97 minutes where the contract says 60",
            "four full-time people who do nothing but move bookings around",
        ),
    ),
    "machinery": Sector(
        "machine building",
        "machine shop",
        "spindles",
        "an Excel macro written by someone who retired",
        "the trade fair deliveries",
        (
            "the planning meeting takes ninety minutes a day and is wrong by lunch",
            "we find out about a worn spindle when the part is already scrap",
            "our best setters spend their time looking for the next job card",
        ),
        (
            "delivery reliability of 71%, and the board looks at that figure every month",
            "scrap of 3.8% on the five-axis machines",
            "unplanned stops of some 60 hours a month across the shop",
        ),
    ),
    "textiles": Sector(
        "textiles",
        "weaving shed",
        "rolls",
        "paper job cards and a very patient planner",
        "the autumn collection",
        (
            "dye lots get mixed up because two shifts plan the same vat",
            "we run rush orders for everyone who shouts",
            "loom stops are logged in a book that nobody reads",
        ),
        (
            "second-quality goods at 7%",
            "lead times of 31 days against a promised 21",
            "about 9,000 a month in air freight to make up for late rolls",
        ),
    ),
    "packaging": Sector(
        "packaging",
        "print hall",
        "reels",
        "two planning tools that disagree",
        "the spring relaunch season",
        (
            "every urgent order breaks the sequence of inks, and we wash up twice a shift more than needed",
            "the warehouse hears about a finished job when it is standing in the way",
            "maintenance is whatever broke last night",
        ),
        (
            "82 washes a week, and 60 would do",
            "waste of 9.5% against a target of 7%",
            "12 late jobs a week, each with a penalty clause",
        ),
    ),
    "retail": Sector(
        "retail distribution",
        "distribution centre",
        "cages",
        "the planner's memory",
        "the January sale",
        (
            "stores call to ask where their cage is and we call the driver, who does not pick up",
            "half the team stands around until ten and then we pay overtime at night",
            "new people leave within the month because the rota changes every day",
        ),
        (
            "staff turnover of 46% a year",
            "38 store complaints a week",
            "a pick rate of 92 an hour when the same layout does 120 elsewhere",
        ),
    ),
}

COMPANIES = (
    ("Quillfeather Foods", "food", "United Kingdom", 420, 61.5, None),
    ("Mossgate Logistics", "logistics", "United Kingdom", 1_150, 143.0, None),
    ("Pennywhistle Bakeries", "bakery", "Ireland", 310, 28.4, None),
    ("Harrowfen Dairy", "food", "United Kingdom", 690, 118.2, "Fenland Holdings"),
    ("Copperkettle Brewing", "brewing", "Canada", 150, 22.9, None),
    ("Lanternjaw Freight", "logistics", "United States", 2_300, 310.0, None),
    ("Bellwether Textiles", "textiles", "Portugal", 540, 47.1, None),
    ("Snowdrop Frozen", "food", "Netherlands", 880, 164.0, "Winterlicht Group"),
    ("Tumbledown Mills", "textiles", "United Kingdom", 210, 19.8, None),
    ("Brackenridge Tool & Die", "machinery", "United States", 380, 72.6, None),
    ("Foxglove Packaging", "packaging", "Belgium", 460, 88.0, None),
    ("Saltcellar Retail Supply", "retail", "United Kingdom", 3_100, 540.0, None),
    ("Wobbly Crate Company", "packaging", "United States", 95, 11.2, None),
    ("Marigold & Sons", "bakery", "Australia", 180, 16.7, None),
    ("Ironfern Machine Works", "machinery", "Sweden", 620, 131.0, "Norrhem Industri"),
    ("Thunderbarrel Beverages", "brewing", "South Africa", 730, 96.3, None),
    ("Larkspur Distribution", "retail", "Ireland", 1_400, 233.0, None),
    ("Puddlewick Creameries", "food", "United Kingdom", 260, 38.5, None),
    ("Greywether Haulage", "logistics", "Canada", 510, 57.0, None),
    ("Nettlebed Knitwear", "textiles", "New Zealand", 130, 12.3, None),
    ("Cobblestone Printing", "packaging", "United Kingdom", 340, 44.8, None),
    ("Hobnail Hardware Stores", "retail", "United States", 4_800, 812.0, None),
    ("Oxbow River Shipping", "logistics", "United States", 970, 158.0, "Meander Partners"),
    ("Candlewick Confectionery", "food", "Belgium", 590, 102.4, None),
    ("Rookery Precision", "machinery", "United Kingdom", 175, 26.1, None),
    ("Applegarth Cider", "brewing", "United Kingdom", 220, 31.9, None),
    ("Whistledown Bread", "bakery", "United States", 940, 121.0, None),
    ("Pilchard & Pike", "food", "Norway", 480, 90.6, None),
    ("Dappledown Cold Stores", "logistics", "Australia", 360, 41.0, None),
    ("Sparrowhawk Labels", "packaging", "Ireland", 115, 14.9, None),
)

GERMAN_COMPANIES = (
    ("Lindenhuber Maschinenbau", "machinery", "Germany", 780, 149.0, None),
    ("Backhaus Semmelrath", "bakery", "Austria", 290, 33.0, None),
    ("Molkerei Grünwiesen", "food", "Germany", 410, 97.5, "Alpenrand Beteiligungen"),
)
FRENCH_COMPANIES = (
    ("Ateliers Brumeval", "machinery", "France", 330, 52.0, None),
    ("Biscuiterie du Vieux Gué", "bakery", "France", 240, 27.7, None),
    ("Transports Corneloup", "logistics", "Belgium", 650, 84.0, None),
)
JAPANESE_COMPANIES = (
    ("Tsukimori Seiki", "machinery", "Japan", 1_200, 228.0, None),
    ("Hoshigaki Foods", "food", "Japan", 860, 177.0, None),
)
