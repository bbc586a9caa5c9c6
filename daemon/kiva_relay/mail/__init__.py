"""The mail on its way: made of words, given to a server, once to each recipient. No loan is kept or sent by it."""
