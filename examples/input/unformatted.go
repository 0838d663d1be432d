// A small inventory, as somebody types it in a hurry: gofmt has something to do in every line.
package main

import ("fmt"; "sort"
    "strings")

type item struct{ name string; pieces int
   price float64 // a piece
 tags []string }

type inventory struct {
items map[string]*item
     history []string
}

func newInventory( ) *inventory { return &inventory{ items:map[string]*item{ } } }

func(inv *inventory)add(name string,pieces int,price float64,tags ...string){
if found,ok:=inv.items[name];ok{ found.pieces+=pieces
} else{
        inv.items[name]=&item{name:name,pieces:pieces,price:price,tags:tags}
 }
     inv.history=append(inv.history,fmt.Sprintf( "added %d of %s",pieces,name ))
}

func (inv*inventory) take( name string, pieces int )( int,error ) {
	found,ok := inv.items[ name ]
	switch{
	case !ok: return 0,fmt.Errorf("there is no %q",name)
	case found.pieces<pieces: return found.pieces,fmt.Errorf("only %d of %q are left",found.pieces,name)
	default: found.pieces-=pieces
	}
	return found.pieces,nil
}

func ( inv *inventory )worth()( total float64 ){
  for _,each:=range inv.items { total+=float64( each.pieces )*each.price }
  return
}

func(inv *inventory) String() string{
   names:=make([]string,0,len(inv.items))
   for name:=range inv.items{names=append(names,name)}
   sort.Strings( names )
   var text strings.Builder
   for index,name:=range names{
      each:=inv.items[name]
      fmt.Fprintf(&text,"%2d  %-12s %4d x %8.2f  %s\n",index+1,each.name,each.pieces,each.price,strings.Join(each.tags,", "))
   }
   return text.String()
}

func main(){
    inv:=newInventory()
	  inv.add( "hinge",40,1.25,"brass","small" )
  inv.add("board" ,12, 7.5,"oak")
      inv.add("screw", 1000,0.02, "brass","tiny")
    if left,err:=inv.take("board",20) ; err!=nil{ fmt.Println("error:",err,"left:",left) }
	const( rate=1.19
   currency = "EUR" )
    fmt.Printf("%s\nworth %.2f %s\n",inv,inv.worth( )*rate,currency)
    for i,j:=0,len(inv.history)-1;i<j;i,j=i+1,j-1{ inv.history[i],inv.history[j]=inv.history[j],inv.history[i] }
}
