PARTS = [
    *(f"tests.bridge.blocks.in_{place}:{name}" for place in ("torch", "keras") for name in (
        "Matched", "WrongShape", "WrongType", "NotANumber", "Raises", "RaisesInAGraph", "Exits", "Nothing", "CannotBeMade",
        "NotThere",
        "ChannelOfRealNumbers", "ChannelOfInfinities", "ChannelOfAnotherShape", "Interferer", "InterfererInAGraph",
    )),
    *(f"tests.bridge.blocks.in_numpy:{name}" for name in (
        "ChannelOfRealNumbers", "ChannelOfInfinities", "ChannelOfAnotherShape", "Raises", "NotAReceiver",
    )),
]  # fmt: skip
