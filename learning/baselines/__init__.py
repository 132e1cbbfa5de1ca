"""What pAirZero is compared with, as far as it needs no link: first-order federations, votes and digital payloads."""
