"""What lies beside the graph in a version's directory?"""
