"""One bench for each protocol; the conformance suite runs over all of them."""
