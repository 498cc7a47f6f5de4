"""How is a scenario on its own machine reached and kept?"""
