package a

func  f( x int )int{return x+1}
