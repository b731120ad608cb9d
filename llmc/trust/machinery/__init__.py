"""What the trust dimensions share: questions, answers, balance, health."""
