from latentedit.cli import main

main()
