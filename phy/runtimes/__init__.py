"""How a user's block of each framework is called: arrays in, arrays out, generators seeded. One file each."""
