"""NIR graphs, read: ``structure`` finds the order of their nodes, ``nodes`` says what each becomes, ``rates`` what each computes."""
