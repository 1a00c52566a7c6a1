"""ECG data looked over before it is used: what there is, what is odd about it, and what `prepare` would refuse."""
