"""An institution whose MIS is a Fineract: its book, and the tellers who change it."""
